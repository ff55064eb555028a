//! The controller's end of the control socket.
//!
//! Whoever can open the socket is root, but may still be a broken script: a request is bounded in
//! length, a client in time and all of them in number, and none can hold up the control loop.

use std::{
    fs, future, io,
    os::fd::AsFd as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    protocol::{self, MAX_REQUEST, Request, Response},
    socket_path,
};
use crate::{
    events::ReaderDoor,
    exit::{Classify, ExitClass},
    run_dir::RunDir,
};

/// Clients that are served at the same time; more wait in the kernel's queue.
const MAX_CLIENTS: u32 = 8;
/// How long a client may take to send its request, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for the control loop's answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Why the control socket cannot be opened.
#[derive(Debug, Error)]
#[error("cannot open the control socket {}", path.display())]
pub struct BindError {
    path: PathBuf,
    source: io::Error,
}

impl Classify for BindError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Runtime
    }
}

/// A request and the place for its answer.
#[derive(Debug)]
pub struct Exchange {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. The client may have left, so that nobody takes it.
    pub reply: oneshot::Sender<Response>,
}

/// The open control socket.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    inode: u64,
    requests: mpsc::Receiver<Exchange>,
    clients: Arc<Semaphore>,
    listener: JoinHandle<()>,
}

impl ControlServer {
    /// Opens the socket in a run directory that this process holds, in the runtime that this is
    /// called from. What a controller left there that was killed is replaced.
    ///
    /// Those who want to read events go on to `readers`.
    pub fn bind(run_dir: &RunDir, readers: ReaderDoor) -> Result<Self, BindError> {
        let path = socket_path(run_dir.path());
        let (listener, inode) = listen(&path).map_err(|source| BindError {
            path: path.clone(),
            source,
        })?;
        let (sender, requests) = mpsc::channel(MAX_CLIENTS as usize);
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
        let listener = tokio::spawn(accept(
            listener,
            Doors {
                requests: sender,
                readers,
            },
            clients.clone(),
        ));
        Ok(Self {
            path,
            inode,
            requests,
            clients,
            listener,
        })
    }

    /// The next request. Nothing is lost when the future is dropped half-way.
    pub async fn next(&mut self) -> Exchange {
        match self.requests.recv().await {
            Some(exchange) => exchange,
            // The listening task holds a sender for as long as this server exists.
            None => future::pending().await,
        }
    }

    /// Takes no more clients, gives those that have their answer a moment to read it, and removes
    /// the socket.
    pub async fn shutdown(mut self) {
        self.listener.abort();
        self.requests.close();
        // A request that was not taken is answered: its reply's sender is dropped here.
        while self.requests.try_recv().is_ok() {}
        // Every client holds a permit until it is done.
        let _ = timeout(
            Duration::from_secs(1),
            self.clients.acquire_many(MAX_CLIENTS),
        )
        .await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.listener.abort();
        // The run directory may have been cleared and used anew since.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the listening socket, and tells the inode of its file.
fn listen(path: &Path) -> io::Result<(UnixListener, u64)> {
    // The run directory is ours alone, so whatever is there is of a controller that was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode of the socket, less the umask: it is never open to others, whatever
    // the umask is, not even for a moment.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let inode = fs::symlink_metadata(path)?.ino();
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok((
        UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?,
        inode,
    ))
}

/// Where clients' requests go.
#[derive(Clone)]
struct Doors {
    requests: mpsc::Sender<Exchange>,
    readers: ReaderDoor,
}

async fn accept(listener: UnixListener, doors: Doors, clients: Arc<Semaphore>) {
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, doors.clone(), permit));
            }
            Err(error) => {
                // Most likely the process has no file descriptor left.
                tracing::warn!(%error, "cannot take a client of the control socket");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, doors: Doors, _permit: OwnedSemaphorePermit) {
    let response = match timeout(PATIENCE, read_request(&mut stream)).await {
        Ok(Ok(Request::Events(query))) => return doors.readers.admit(stream, query),
        Ok(Ok(request)) => answer(request, &doors.requests).await,
        Ok(Err(RequestError::Malformed(reason))) => Response::Error(reason),
        // Nobody is there to be told.
        Ok(Err(RequestError::Gone)) | Err(_) => return,
    };
    let line = protocol::line(&response);
    let _ = timeout(PATIENCE, async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    })
    .await;
}

/// Why there is no request.
enum RequestError {
    /// The client closed before it had said anything, or the connection broke.
    Gone,
    /// What was sent is no request.
    Malformed(String),
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, RequestError> {
    let mut line = Vec::new();
    let limit = MAX_REQUEST as u64 + 1;
    BufReader::new(stream.take(limit))
        .read_until(b'\n', &mut line)
        .await
        .map_err(|_| RequestError::Gone)?;
    if line.is_empty() {
        return Err(RequestError::Gone);
    }
    if line.len() > MAX_REQUEST {
        let reason = format!("the request is longer than {MAX_REQUEST} bytes");
        return Err(RequestError::Malformed(reason));
    }
    serde_json::from_slice(&line)
        .map_err(|error| RequestError::Malformed(format!("this is no request: {error}")))
}

/// Hands the request to the control loop and waits for what it says.
async fn answer(request: Request, requests: &mpsc::Sender<Exchange>) -> Response {
    let (reply, answered) = oneshot::channel();
    let exchange = async {
        requests.send(Exchange { request, reply }).await.ok()?;
        answered.await.ok()
    };
    match timeout(ANSWER, exchange).await {
        Ok(Some(response)) => response,
        Ok(None) => Response::Error("the controller is ending".into()),
        Err(_) => Response::Error(format!(
            "the controller did not answer in {} s",
            ANSWER.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests;
