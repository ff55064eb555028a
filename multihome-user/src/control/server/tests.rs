//! The control socket from both ends, with clients as bad as they come.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream as StdStream,
    thread,
    time::Instant,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::control::{ControlError, client};

struct Setup {
    folder: TempDir,
    run_dir: RunDir,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run_dir = RunDir::take(&folder.path().join("gw")).expect("nobody has it");
    Setup { folder, run_dir }
}

/// Runs a controller that refuses a `status` and carries out a `detach`, until it was asked for
/// the latter, while `clients` run in a thread of their own.
fn run<T: Send + 'static>(setup: &Setup, clients: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let path = setup.run_dir.path().to_path_buf();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let mut server = ControlServer::bind(&setup.run_dir, ReaderDoor::closed())
            .expect("the socket can be opened");
        let clients = thread::spawn(move || clients(&path));
        loop {
            let Exchange { request, reply } = server.next().await;
            let (response, last) = match request {
                Request::Status {} => (Response::Error("not now".into()), false),
                Request::Prefixes { .. } => (Response::Prefixes(Vec::new()), false),
                Request::Drain { .. } | Request::Undrain { .. } => {
                    (Response::Refused("not this one".into()), false)
                }
                Request::SetPrefix { .. } => (Response::Refused("not this one".into()), false),
                Request::Events(_) => unreachable!("their readers are let in elsewhere"),
                Request::Detach {} => (Response::Detached, true),
            };
            let _ = reply.send(response);
            if last {
                break;
            }
        }
        server.shutdown().await;
        clients.join().expect("no assertion of a client failed")
    })
}

/// Sends bytes and reads until the end.
fn send(run_dir: &Path, bytes: &[u8]) -> String {
    let mut stream = StdStream::connect(socket_path(run_dir)).expect("somebody listens");
    // The server may close before it has read all of it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn detach(run_dir: &Path) {
    let response = client::request(run_dir, &Request::Detach {}).expect("it is carried out");
    assert_eq!(response, Response::Detached);
}

#[test]
fn answers_and_ends() {
    let setup = setup();
    let refused = run(&setup, |run_dir| {
        let refused = client::request(run_dir, &Request::Status {}).expect_err("it is refused");
        detach(run_dir);
        refused
    });
    assert_eq!(refused.to_string(), "the controller refused: not now");
    // The socket is gone, so the next client is told at once.
    assert!(!socket_path(setup.run_dir.path()).exists());
    let error =
        client::request(setup.run_dir.path(), &Request::Status {}).expect_err("it has ended");
    assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
}

#[test]
fn the_socket_is_private_whatever_the_umask() {
    let setup = setup();
    run(&setup, |run_dir| {
        let metadata = fs::symlink_metadata(socket_path(run_dir)).expect("it is there");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        detach(run_dir);
    });
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let setup = setup();
    let path = socket_path(setup.run_dir.path());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the path is free"));
    assert!(path.exists());
    let error =
        client::request(setup.run_dir.path(), &Request::Status {}).expect_err("nobody is there");
    assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
    run(&setup, detach);
}

#[test]
fn a_socket_of_a_later_controller_is_left_alone() {
    let setup = setup();
    let path = socket_path(setup.run_dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let server = ControlServer::bind(&setup.run_dir, ReaderDoor::closed())
            .expect("the socket can be opened");
        fs::rename(&path, setup.folder.path().join("aside")).expect("it can be moved");
        fs::write(&path, "another's").expect("the path is free");
        drop(server);
    });
    assert!(path.exists());
}

#[test]
fn bad_requests_are_answered_and_forgotten() {
    let setup = setup();
    run(&setup, |run_dir| {
        for (bytes, answer) in [
            (&b"hello\n"[..], "this is no request"),
            (b"{\"command\":\"reboot\"}\n", "unknown variant"),
            (b"{\"command\":\"status\"", "this is no request"),
            (b"\xff\xfe\n", "this is no request"),
            (b"\0\0\0\0\n", "this is no request"),
            (&[b'['; MAX_REQUEST], "this is no request"),
            (&[b' '; MAX_REQUEST + 1], "longer than 65536 bytes"),
            (&[b'x'; 4 * MAX_REQUEST], "longer than 65536 bytes"),
        ] {
            let told = send(run_dir, bytes);
            // With more sent than was read, the kernel may cut the answer off.
            assert!(
                told.contains(answer) || (told.is_empty() && bytes.len() > MAX_REQUEST),
                "{told}"
            );
        }
        assert_eq!(send(run_dir, b""), "");
        // Without an end of line it is still one request.
        assert_eq!(
            send(run_dir, b"{\"command\":\"status\"}"),
            "{\"error\":\"not now\"}\n"
        );
        detach(run_dir);
    });
}

#[test]
fn idle_clients_hold_up_nobody_for_long() {
    let setup = setup();
    let waited = run(&setup, |run_dir| {
        let idle: Vec<_> = (0..MAX_CLIENTS + 4)
            .map(|_| StdStream::connect(socket_path(run_dir)).expect("somebody listens"))
            .collect();
        let start = Instant::now();
        detach(run_dir);
        drop(idle);
        start.elapsed()
    });
    // All places are taken by clients that say nothing; each is shown the door in time.
    assert!(
        waited >= PATIENCE / 2 && waited < PATIENCE * 3,
        "{waited:?}"
    );
}

#[test]
fn a_client_that_leaves_does_no_harm() {
    let setup = setup();
    run(&setup, |run_dir| {
        for _ in 0..50 {
            let mut stream = StdStream::connect(socket_path(run_dir)).expect("somebody listens");
            let _ = stream.write_all(b"{\"command\":\"status\"}\n");
        }
        detach(run_dir);
    });
}

#[test]
fn requests_that_come_too_late_are_told() {
    let setup = setup();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let answer = runtime.block_on(async {
        let server = ControlServer::bind(&setup.run_dir, ReaderDoor::closed())
            .expect("the socket can be opened");
        let path = setup.run_dir.path().to_path_buf();
        let client = thread::spawn(move || client::request(&path, &Request::Status {}));
        // Long enough for the request to lie in the queue; nobody takes it from there.
        while server.requests.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        server.shutdown().await;
        client.join().expect("the client does not panic")
    });
    assert_eq!(
        answer.expect_err("the controller ended").to_string(),
        "the controller refused: the controller is ending"
    );
}

#[test]
fn without_a_controller_the_message_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = client::request(folder.path(), &Request::Status {}).expect_err("nobody is there");
    assert_eq!(
        crate::exit::message(&error),
        format!(
            "error: no controller answers on {}\n  help: is `multihome run` running, with the same \
             --run-dir?",
            socket_path(folder.path()).display()
        )
    );
    assert_eq!(error.exit_class(), ExitClass::Runtime);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A few controllers and many requests each: whatever is sent, it goes on answering.
    #[test]
    fn no_bytes_make_it_stop(
        requests in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 1..20
        )
    ) {
        let setup = setup();
        run(&setup, move |run_dir| {
            for bytes in requests {
                send(run_dir, &bytes);
            }
            detach(run_dir);
        });
    }
}
