//! Downloads over HTTP: a small server of this library's own in the lab, and curl as the client.
//!
//! The server can send slowly and steadily, so that a download is under way while things fail.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
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
    clock,
    flows::Family,
    payload,
};
use crate::lab::{Process, topology::GatewayLab};

/// The server's port.
pub const PORT: u16 = 80;

/// How often a paced download gets its next part.
const PACE: Duration = Duration::from_millis(50);

/// The server. It stops when dropped; downloads under way go on until they end.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    lab_server: crate::lab::Namespace,
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
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream {
                    // A client that goes away is no error of the server's; who downloads checks
                    // what it got.
                    thread::spawn(move || drop(serve(stream)));
                }
            }
        });
        let address = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), PORT);
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            lab_server: lab.server.clone(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A connection wakes the thread up.
        let woken = self.lab_server.enter(|| TcpStream::connect(self.address));
        if let (Ok(Ok(_)), Some(thread)) = (woken, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// Answers `GET /BYTES` and `GET /BYTES/MILLISECONDS`; the latter takes about that long.
fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    while !lines.next().context("an unfinished request")??.is_empty() {}
    let path = request.split(' ').nth(1).context("no path")?;
    let mut parts = path.trim_start_matches('/').split('/');
    let length: usize = parts.next().context("no length")?.parse()?;
    let pace: u64 = parts.next().map_or(Ok(0), str::parse)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    let body = body(length);
    let steps = usize::try_from(u128::from(pace) / PACE.as_millis())?.max(1);
    let start = clock::now();
    let step_length = u64::try_from(PACE.as_nanos())?;
    for (step, part) in (0..).zip(body.chunks(length.div_ceil(steps).max(1))) {
        clock::sleep_until(start + step * step_length);
        stream.write_all(part)?;
    }
    Ok(())
}

/// What the server sends: bytes with a period that is no multiple of a segment's size, so that
/// parts that are missing, doubled or in another order do not go unnoticed.
fn body(length: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(length).collect()
}

/// A download by curl.
pub struct Download {
    process: Process,
    file: PathBuf,
    length: usize,
    /// The source port of its connection.
    pub port: u16,
}

impl Download {
    /// Starts to download that many bytes, spread over a time, from this source port.
    pub fn start(
        lab: &GatewayLab,
        host: usize,
        family: Family,
        port: u16,
        length: usize,
        spread_over: Duration,
    ) -> Result<Self> {
        let server = SocketAddr::new(family.server(), PORT);
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
        curl.arg("--output").arg(&file);
        curl.arg(format!(
            "http://{server}/{length}/{}",
            spread_over.as_millis()
        ));
        let process = lab.lab.spawn(&format!("curl-{port}"), curl)?;
        Ok(Self {
            process,
            file,
            length,
            port,
        })
    }

    /// True while curl has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.is_running()
    }

    /// Waits for the end. Fails when curl fails, or when what it got is not what was sent.
    pub fn finish(mut self, at_most: Duration) -> Result<()> {
        self.process.finish(at_most)?;
        let got = fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        ensure!(
            got.len() == self.length,
            "got {} bytes of {}",
            got.len(),
            self.length
        );
        ensure!(got == body(self.length), "got other bytes than were sent");
        fs::remove_file(&self.file)?;
        Ok(())
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
