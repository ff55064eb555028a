//! Downloads over HTTP: a small server of this library's own in the lab, and curl as the client.
//!
//! The server can send slowly and steadily, so that a download is under way while things fail.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::{
    capture::{Capture, Point},
    flows::Family,
    payload,
};
use crate::lab::{Namespace, Process, topology::GatewayLab};

/// The server's port.
pub const PORT: u16 = 80;

/// The parts that a steady download gets in a second.
const PARTS_PER_SECOND: usize = 20;

/// The server. It stops when dropped, and completes steady downloads.
pub struct Server {
    namespace: Namespace,
    stop: Arc<AtomicBool>,
    complete: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server, for both families.
    pub fn start(lab: &GatewayLab) -> Result<Self> {
        let listener: TcpListener = lab.server.enter(|| -> Result<TcpListener> {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(Family::V6.any(), PORT).into())?;
            socket.listen(128)?;
            Ok(socket.into())
        })??;
        let [stop, complete] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (told_to_stop, told_to_complete) = (Arc::clone(&stop), Arc::clone(&complete));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if told_to_stop.load(Ordering::Relaxed) {
                    break;
                }
                let complete = Arc::clone(&told_to_complete);
                if let Ok(stream) = stream {
                    // A client that goes away is no error of the server's; who downloads checks
                    // what it got.
                    thread::spawn(move || drop(serve(stream, &complete)));
                }
            }
        });
        Ok(Self {
            namespace: lab.server.clone(),
            stop,
            complete,
            thread: Some(thread),
        })
    }

    /// Completes all steady downloads, from now on.
    pub fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.complete();
        self.stop.store(true, Ordering::Relaxed);
        // A connection wakes the thread up.
        let woken = self
            .namespace
            .enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)));
        if let (Ok(Ok(_)), Some(thread)) = (woken, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// Answers `GET /BYTES`, and `GET /steady/BYTES` with that many bytes a second until the server
/// is told to complete such downloads.
fn serve(mut stream: TcpStream, complete: &AtomicBool) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    while !lines.next().context("an unfinished request")??.is_empty() {}
    let path = request.split(' ').nth(1).context("no path")?;
    let header = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
                  Connection: close\r\n";
    if let Some(rate) = path.strip_prefix("/steady/") {
        let part = rate.parse::<usize>()? / PARTS_PER_SECOND;
        write!(stream, "{header}Transfer-Encoding: chunked\r\n\r\n")?;
        // The client knows by the last, empty chunk that nothing is missing.
        let mut sent = 0;
        while !complete.load(Ordering::Relaxed) {
            write!(stream, "{part:x}\r\n")?;
            stream.write_all(&body(sent..sent + part))?;
            stream.write_all(b"\r\n")?;
            sent += part;
            thread::sleep(Duration::from_secs(1) / PARTS_PER_SECOND as u32);
        }
        stream.write_all(b"0\r\n\r\n")?;
    } else {
        let length = path.trim_start_matches('/').parse()?;
        write!(stream, "{header}Content-Length: {length}\r\n\r\n")?;
        stream.write_all(&body(0..length))?;
    }
    Ok(())
}

/// A part of what the server sends: bytes with a period that is no multiple of a segment's size,
/// so that parts that are missing, doubled or in another order do not go unnoticed.
fn body(part: Range<usize>) -> Vec<u8> {
    (0..=250u8)
        .cycle()
        .skip(part.start % 251)
        .take(part.len())
        .collect()
}

/// What to download.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// That many bytes, as fast as it goes.
    Bytes(usize),
    /// That many bytes a second, until [`Server::complete`].
    Steady(usize),
}

/// A download by curl.
pub struct Download {
    process: Process,
    file: PathBuf,
    size: Size,
    /// The source port of its connection.
    pub port: u16,
}

impl Download {
    /// Starts to download, from this source port.
    pub fn start(
        lab: &GatewayLab,
        host: usize,
        family: Family,
        port: u16,
        size: Size,
    ) -> Result<Self> {
        let server = SocketAddr::new(family.server(), PORT);
        let path = match size {
            Size::Bytes(length) => length.to_string(),
            Size::Steady(rate) => format!("steady/{rate}"),
        };
        let file = lab
            .lab
            .dir()
            .join(format!("download-{host}-{family:?}-{port}"));
        let mut curl = lab.hosts[host].namespace.command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            "--globoff",
        ]);
        curl.arg("--local-port").arg(port.to_string());
        curl.arg("--output")
            .arg(&file)
            .arg(format!("http://{server}/{path}"));
        let process = lab.lab.spawn(&format!("curl-{port}"), curl)?;
        Ok(Self {
            process,
            file,
            size,
            port,
        })
    }

    /// Bytes that have arrived so far.
    pub fn received(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Fails, with what curl said, when curl has already failed.
    pub fn check(&mut self) -> Result<()> {
        ensure!(
            self.process.is_running()?,
            "a download has ended early: {}",
            self.process.said()
        );
        Ok(())
    }

    /// Waits for the end, and returns the bytes that were downloaded. Fails when curl fails, as it
    /// does when the end is missing, or when what it got is not what was sent.
    pub fn finish(mut self, at_most: Duration) -> Result<u64> {
        self.process.finish(at_most)?;
        let got = fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        if let Size::Bytes(length) = self.size {
            ensure!(got.len() == length, "got {} bytes of {length}", got.len());
        }
        ensure!(got == body(0..got.len()), "got other bytes than were sent");
        fs::remove_file(&self.file)?;
        Ok(got.len() as u64)
    }
}

/// Watches connections being opened to a port of the server: the source port of each, at the
/// index of the uplink that it took.
pub fn connections(lab: &GatewayLab, port: u16) -> Result<Capture<u16>> {
    let devices: Vec<String> = (0..lab.uplinks.len()).map(|n| format!("isp{n}")).collect();
    let points: Vec<Point<'_>> = devices
        .iter()
        .map(|device| Point {
            namespace: &lab.internet,
            device,
        })
        .collect();
    Capture::start(&points, &[6], move |packet| {
        payload::syn_source_port(packet, port)
    })
}
