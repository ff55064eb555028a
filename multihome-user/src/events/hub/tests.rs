//! The thread of events with readers as good and as bad as they come, over the real control socket.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream as StdStream,
    time::Instant,
};

use tempfile::TempDir;

use super::*;
use crate::{
    control::{ControlServer, Request, socket_path},
    events::{Kind, ring::KEPT, tests::record},
    run_dir::RunDir,
};

/// A control socket with the thread of events behind it, and no control loop.
struct Setup {
    folder: TempDir,
    hub: Hub,
    server: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
    next: u64,
}

impl Setup {
    fn start() -> Self {
        Self::on(tempfile::tempdir().expect("a temporary folder"))
    }

    fn on(folder: TempDir) -> Self {
        let run_dir = RunDir::take(&folder.path().join("gw")).expect("nobody has it");
        let hooks = Hooks::none();
        let hub = Hub::start(run_dir.path(), hooks, 0).expect("a thread can be started");
        let door = hub.door();
        let (end, ended) = tokio::sync::oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                let server = ControlServer::bind(&run_dir, door).expect("it can be opened");
                bound.send(()).expect("it is waited for");
                let _ = ended.await;
                server.shutdown().await;
            });
        });
        is_bound.recv().expect("the socket is open");
        Self {
            folder,
            next: hub.next(),
            hub,
            server: Some((end, server)),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("gw")
    }

    fn happens(&mut self, kind: Kind, uplink: &str) {
        let told = self.hub.tell(record(self.next, kind, uplink));
        assert!(told, "there is room for it");
        self.next += 1;
    }

    fn ask(&self, query: EventQuery) -> BufReader<StdStream> {
        let mut stream = StdStream::connect(socket_path(&self.path())).expect("it listens");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("it is a socket");
        let request = protocol::line(&Request::Events(query));
        stream.write_all(&request).expect("it is read");
        BufReader::new(stream)
    }

    fn end(self) -> TempDir {
        let Self {
            folder,
            hub,
            server,
            ..
        } = self;
        hub.end();
        let (end, server) = server.expect("it runs");
        let _ = end.send(());
        server.join().expect("it did not panic");
        folder
    }
}

fn next(reader: &mut BufReader<StdStream>) -> Option<Response> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .expect("an answer comes in time");
    (!line.is_empty()).then(|| serde_json::from_str(&line).expect(&line))
}

fn seq(response: Option<Response>) -> u64 {
    match response {
        Some(Response::Event(record)) => record.seq,
        other => panic!("{other:?} is no event"),
    }
}

fn following() -> EventQuery {
    EventQuery {
        follow: true,
        ..EventQuery::default()
    }
}

/// Waits until the thread has taken all that was told.
fn settle(setup: &Setup) {
    let limit = Instant::now() + Duration::from_secs(60);
    while setup.hub.next() < setup.next {
        assert!(Instant::now() < limit, "the thread stands still");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn readers_get_what_was_and_what_comes_until_the_end() {
    let mut setup = Setup::start();
    setup.happens(Kind::ControllerStarted, "");
    setup.happens(Kind::UplinkDown, "fibre");
    settle(&setup);
    let mut once = setup.ask(EventQuery::default());
    assert_eq!([seq(next(&mut once)), seq(next(&mut once))], [1, 2]);
    assert_eq!(next(&mut once), Some(Response::End));
    assert_eq!(next(&mut once), None);
    let mut all = setup.ask(following());
    let mut lte = setup.ask(EventQuery {
        uplink: Some("lte".into()),
        ..following()
    });
    assert_eq!([seq(next(&mut all)), seq(next(&mut all))], [1, 2]);
    // Whoever asks for another uplink is let in when this answer is there.
    let mut again = setup.ask(EventQuery::default());
    assert_eq!(seq(next(&mut again)), 1);
    setup.happens(Kind::UplinkUp, "fibre");
    assert_eq!(seq(next(&mut all)), 3);
    setup.happens(Kind::UplinkDown, "lte");
    assert_eq!(seq(next(&mut all)), 4);
    assert_eq!(seq(next(&mut lte)), 4);
    setup.happens(Kind::ControllerStopped, "");
    setup.end();
    assert_eq!(seq(next(&mut all)), 5, "the last word is told");
    for mut reader in [all, lte] {
        assert_eq!(next(&mut reader), Some(Response::End));
        assert_eq!(next(&mut reader), None);
    }
}

/// A follower that is stopped (Ctrl-Z) must neither hold up others nor fill memory.
#[test]
fn a_reader_that_does_not_read_skips_with_a_notice_and_holds_up_nobody() {
    let mut setup = Setup::start();
    setup.happens(Kind::ControllerStarted, "");
    settle(&setup);
    let mut idle = setup.ask(following());
    assert_eq!(seq(next(&mut idle)), 1);
    let mut busy = setup.ask(following());
    assert_eq!(seq(next(&mut busy)), 1);
    // Many times what fits the socket's buffer and what is kept.
    let last = 10 * KEPT as u64;
    let mut read = 1;
    for n in 0..last {
        setup.happens(Kind::PathDown, "fibre");
        if n % 256 == 255 {
            while read < setup.next - 1 {
                read = seq(next(&mut busy));
            }
        }
    }
    let (mut read, mut skipped) = (1, 0);
    while read < setup.next - 1 {
        match next(&mut idle) {
            Some(Response::Skipped(more)) => {
                skipped += more;
                read += more;
            }
            other => {
                assert_eq!(seq(other), read + 1, "only what was said is left out");
                read += 1;
            }
        }
    }
    assert!(skipped > 0, "it was to have missed some");
    setup.end();
}

#[test]
fn there_are_so_many_readers_and_places_of_those_who_left_are_free() {
    let mut setup = Setup::start();
    setup.happens(Kind::ControllerStarted, "");
    settle(&setup);
    let mut readers: Vec<_> = (0..MAX_READERS).map(|_| setup.ask(following())).collect();
    for reader in &mut readers {
        assert_eq!(seq(next(reader)), 1);
    }
    let refused = next(&mut setup.ask(following()));
    assert!(
        matches!(&refused, Some(Response::Error(why)) if why.contains("16")),
        "{refused:?}"
    );
    // One leaves, and one only says that he will not say more.
    let half_closed = readers.pop().expect("there are some");
    half_closed
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("it is a socket");
    drop(readers.pop());
    let limit = Instant::now() + Duration::from_secs(60);
    let mut late = loop {
        let mut reader = setup.ask(following());
        if let Some(Response::Event(_)) = next(&mut reader) {
            break reader;
        }
        assert!(Instant::now() < limit, "no place came free");
        thread::sleep(Duration::from_millis(10));
    };
    setup.happens(Kind::UplinkUp, "a");
    assert_eq!(seq(next(&mut late)), 2);
    let mut half_closed = half_closed;
    assert_eq!(seq(next(&mut half_closed)), 2);
    setup.end();
}

#[test]
fn events_outlive_a_restart_and_numbers_go_on() {
    let mut setup = Setup::start();
    for _ in 0..3 {
        setup.happens(Kind::UplinkDown, "fibre");
    }
    let folder = setup.end();
    let mut setup = Setup::on(folder);
    assert_eq!(setup.next, 4);
    setup.happens(Kind::UplinkUp, "fibre");
    settle(&setup);
    let mut reader = setup.ask(EventQuery::default());
    let seqs: Vec<u64> = (0..4).map(|_| seq(next(&mut reader))).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    setup.end();
}

#[test]
fn a_reader_who_never_reads_does_not_hold_up_the_end() {
    let mut setup = Setup::start();
    let _idle = setup.ask(following());
    for _ in 0..KEPT * 4 {
        setup.happens(Kind::UplinkDown, "fibre");
    }
    let began = Instant::now();
    setup.end();
    assert!(began.elapsed() < Duration::from_secs(60), "it has a limit");
}

#[test]
fn what_else_a_reader_says_is_not_listened_to() {
    let mut setup = Setup::start();
    let mut reader = setup.ask(following());
    let noise = vec![b'x'; 100_000];
    reader.get_mut().write_all(&noise).expect("it is taken");
    setup.happens(Kind::UplinkDown, "fibre");
    assert_eq!(seq(next(&mut reader)), 1);
    setup.happens(Kind::UplinkUp, "fibre");
    assert_eq!(seq(next(&mut reader)), 2);
    setup.end();
}
