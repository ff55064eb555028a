//! Hooks that work, fail, hang, flood and are slow: real processes and real servers on the loopback.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{queue::MAX_WAITING, *};
use crate::{
    config::Config,
    events::{Kind, tests::record},
    heartbeat::Heartbeat,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with hooks, and a folder for what they leave.
struct Setup {
    folder: tempfile::TempDir,
    config: Config,
    metrics: Arc<Metrics>,
}

impl Setup {
    /// `hooks` are TOML, in which FOLDER stands for the folder.
    fn new(hooks: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hooks = hooks.replace("FOLDER", folder.path().to_str().expect("UTF-8"));
        let text =
            format!("lan = \"lan0\"\n[[uplink]]\nname = \"fibre\"\ndevice = \"eth0\"\n{hooks}");
        let config = Config::from_toml(Path::new("test.toml"), &text).expect(&text);
        let metrics = Metrics::new(&config, Heartbeat::new(Instant::now())).expect("it is sound");
        Self {
            folder,
            config,
            metrics: Arc::new(metrics),
        }
    }

    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
        path
    }

    /// Tells the hooks of these events, one after the other, and waits until they have taken them.
    fn tell(&self, records: impl IntoIterator<Item = Record>) {
        let mut hooks = Hooks::new(&self.config.hooks, &self.metrics);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            hooks.start();
            for record in records {
                hooks.take(&Arc::new(record));
            }
            hooks.finish().await;
        });
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn runs(&self, hook: &str, result: HookResult) -> u64 {
        let text = self.metrics.render().expect("it is sound");
        let start = format!(
            "multihome_hook_runs_total{{hook=\"{hook}\",result=\"{}\"}} ",
            result.name()
        );
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.expect(&start).parse().expect("a count")
    }
}

#[test]
fn a_command_gets_the_event_on_its_input_and_in_its_environment() {
    let setup = Setup::new(
        "[[hook]]\nname = \"a\"\ncommand = [\"FOLDER/hook\", \"one word\", \"$HOME\"]\n",
    );
    setup.script(
        "hook",
        "cd \"$(dirname \"$0\")\"\ncat > input\nenv > environment\necho \"$1|$2\" > arguments",
    );
    let event = record(7, Kind::UplinkDown, "fibre");
    setup.tell([event.clone()]);
    let input: Record = serde_json::from_str(&setup.read("input")).expect("JSON");
    assert_eq!(input, event);
    assert_eq!(
        setup.read("arguments"),
        "one word|$HOME\n",
        "no shell has a say"
    );
    let environment = setup.read("environment");
    for line in [
        "MULTIHOME_KIND=uplink_down",
        "MULTIHOME_SEQ=7",
        "MULTIHOME_UPLINK=fibre",
        "MULTIHOME_FAMILY=",
        "MULTIHOME_CAUSE=no carrier",
        "MULTIHOME_INITIAL=false",
    ] {
        assert!(
            environment.lines().any(|has| has == line),
            "{line}: {environment}"
        );
    }
    assert!(
        !environment.contains("CARGO"),
        "nothing else is handed on: {environment}"
    );
    assert_eq!(setup.runs("a", HookResult::Ok), 1);
}

#[test]
fn a_hook_gets_the_kinds_that_it_asks_for_in_their_order() {
    let setup = Setup::new(
        "[[hook]]\nname = \"a\"\ncommand = \"FOLDER/hook\"\nevents = [\"uplink_up\", \
         \"uplink_down\"]\n",
    );
    setup.script(
        "hook",
        "echo $MULTIHOME_SEQ $MULTIHOME_KIND >> \"$(dirname \"$0\")/told\"",
    );
    let initial = |seq, kind| Record {
        initial: true,
        ..record(seq, kind, "fibre")
    };
    setup.tell([
        initial(1, Kind::UplinkUp),
        initial(2, Kind::UplinkDown),
        record(3, Kind::PathDown, "fibre"),
        record(4, Kind::UplinkDown, "fibre"),
        record(5, Kind::UplinkUp, "fibre"),
        record(6, Kind::Sick, "fibre"),
        record(7, Kind::UplinkDown, "fibre"),
    ]);
    assert_eq!(
        setup.read("told"),
        "2 uplink_down\n4 uplink_down\n5 uplink_up\n7 uplink_down\n",
        "what a start finds in order is no news"
    );
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started_and_the_next_event_is_told() {
    let setup =
        Setup::new("[[hook]]\nname = \"a\"\ncommand = \"FOLDER/hook\"\ntimeout = \"500ms\"\n");
    setup.script(
        "hook",
        "cd \"$(dirname \"$0\")\"\necho told >> told\n[ $MULTIHOME_SEQ = 2 ] && exit 0\n\
         trap '' TERM INT HUP\nsleep 1000 &\necho $! > child\nsleep 1000\necho on >> told",
    );
    setup.tell([
        record(1, Kind::PathUp, "fibre"),
        record(2, Kind::PathUp, "fibre"),
    ]);
    assert_eq!(setup.read("told"), "told\ntold\n");
    assert_eq!(setup.runs("a", HookResult::Timeout), 1);
    assert_eq!(setup.runs("a", HookResult::Ok), 1);
    let child = setup.read("child");
    let stat = format!("/proc/{}/stat", child.trim());
    let limit = Instant::now() + LIMIT;
    // Nobody but init waits for it, so it may be seen dead for a moment.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < limit, "its child lives on");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_that_fails_or_is_gone_is_counted() {
    let setup = Setup::new(
        "[[hook]]\nname = \"a\"\ncommand = \"FOLDER/hook\"\n\
         [[hook]]\nname = \"gone\"\ncommand = \"FOLDER/gone\"\n",
    );
    setup.script(
        "hook",
        "exec 0<&-\nyes 'too much to keep' | head -c 1000000\nexit 3",
    );
    setup.tell([record(1, Kind::PathUp, "fibre")]);
    assert_eq!(setup.runs("a", HookResult::Failed), 1);
    assert_eq!(setup.runs("gone", HookResult::Failed), 1);
}

#[test]
fn a_hook_that_is_too_slow_misses_the_oldest_and_that_is_counted() {
    let setup = Setup::new("[[hook]]\nname = \"a\"\ncommand = \"FOLDER/hook\"\n");
    setup.script("hook", "echo $MULTIHOME_SEQ >> \"$(dirname \"$0\")/told\"");
    let waiting = MAX_WAITING as u64;
    // The hook gets its first turn when all of them are there.
    setup.tell((1..=waiting + 10).map(|seq| record(seq, Kind::PathUp, "fibre")));
    let told: Vec<u64> = setup
        .read("told")
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(told, (11..=waiting + 10).collect::<Vec<_>>());
    assert_eq!(setup.runs("a", HookResult::Dropped), 10);
    assert_eq!(setup.runs("a", HookResult::Ok), waiting);
}

/// A server that answers each connection with the next of these texts; what it was sent.
fn server(answers: Vec<&'static str>) -> (u16, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let serve = move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().expect("a client");
            requests.push(serve_one(stream, answer));
        }
        requests
    };
    (port, thread::spawn(serve))
}

fn serve_one(mut stream: TcpStream, answer: &str) -> String {
    stream
        .set_read_timeout(Some(LIMIT))
        .expect("it is a socket");
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
            Ok(0) | Err(_) => break,
        }
    }
    if answer.is_empty() {
        // It never answers: the client leaves first.
        while let Ok(1..) = stream.read(&mut buffer) {}
    } else {
        let _ = stream.write_all(answer.as_bytes());
    }
    String::from_utf8(request).expect("text")
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}

#[test]
fn a_server_gets_the_event_as_json_and_again_when_it_was_in_trouble() {
    let (port, served) = server(vec![
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ]);
    let setup = Setup::new(&format!(
        "[[hook]]\nname = \"a\"\nurl = \"http://127.0.0.1:{port}/hook?key=1\"\n"
    ));
    let event = record(7, Kind::UplinkDown, "fibre");
    setup.tell([event.clone()]);
    for request in served.join().expect("it did not panic") {
        let (head, body) = request.split_once("\r\n\r\n").expect("a request");
        assert!(head.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(
            head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")),
            "{head}"
        );
        assert!(
            head.contains("\r\ncontent-type: application/json\r\n"),
            "{head}"
        );
        assert_eq!(serde_json::from_str::<Record>(body).expect("JSON"), event);
    }
    assert_eq!(setup.runs("a", HookResult::Ok), 1);
}

#[test]
fn a_server_that_refuses_the_event_is_not_asked_again() {
    let (port, served) = server(vec!["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]);
    let setup = Setup::new(&format!(
        "[[hook]]\nname = \"a\"\nurl = \"http://127.0.0.1:{port}\"\n"
    ));
    setup.tell([record(1, Kind::UplinkDown, "fibre")]);
    assert_eq!(served.join().expect("it did not panic").len(), 1);
    assert_eq!(setup.runs("a", HookResult::Failed), 1);
}

#[test]
fn servers_that_never_answer_or_answer_rubbish_have_an_end() {
    let (silent, silently) = server(vec![""; 3]);
    let (rubbish, served) = server(vec!["rubbish\r\n\r\n"; 3]);
    let setup = Setup::new(&format!(
        "[[hook]]\nname = \"silent\"\nurl = \"http://127.0.0.1:{silent}\"\ntimeout = \"300ms\"\n\
         [[hook]]\nname = \"rubbish\"\nurl = \"http://127.0.0.1:{rubbish}\"\n\
         [[hook]]\nname = \"tls\"\nurl = \"https://127.0.0.1:{rubbish}\"\nevents = [\"sick\"]\n"
    ));
    setup.tell([record(1, Kind::UplinkDown, "fibre")]);
    assert_eq!(setup.runs("silent", HookResult::Timeout), 1);
    assert_eq!(setup.runs("rubbish", HookResult::Failed), 1);
    silently.join().expect("it did not panic");
    served.join().expect("it did not panic");
}
