//! Serves `/metrics` and `/healthz`, in a thread of its own: however slow or many its clients are,
//! the control loop does not wait for them.
//!
//! Each connection carries one request and has a deadline, and there is a limit to how many are
//! served at a time. Request bodies are never read.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::{
    exit::{Classify, ExitClass},
    heartbeat::Heartbeat,
    metrics::{CONTENT_TYPE, CounterSnapshot, Metrics},
};

/// Connections that are served at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send the request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(10);
/// The largest request head that is read, in bytes; the least that the HTTP library allows.
const MAX_HEAD: usize = 8 * 1024;
/// A control loop that has not gone round for longer is not healthy.
const STALE: Duration = Duration::from_secs(5);

/// Why metrics cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Another program listens there.
    #[error("cannot serve metrics on {0}: another program listens there")]
    InUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot serve metrics on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread that serves cannot be started.
    #[error("cannot start the thread that serves metrics")]
    Thread(#[source] io::Error),
}

impl Classify for HttpError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::InUse(_) | Self::Bind { .. } => ExitClass::Input,
            Self::Thread(_) => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::InUse(_) | Self::Bind { .. } => Some(
                "give another address with --metrics-listen ADDR:PORT, or --metrics-listen off"
                    .into(),
            ),
            Self::Thread(_) => None,
        }
    }
}

/// An address that is listened on, before anything is served.
#[derive(Debug)]
pub struct BoundHttp {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundHttp {
    /// The address, with the port that was chosen if none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes the address, so that nothing is attached when it is not to be had.
///
/// # Errors
/// When another program has it, or this machine has no such address.
pub fn bind(address: SocketAddr) -> Result<BoundHttp, HttpError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(BoundHttp { listener, address })
    });
    bound.map_err(|source| match source.kind() == io::ErrorKind::AddrInUse {
        true => HttpError::InUse(address),
        false => HttpError::Bind { address, source },
    })
}

/// Serves until the returned value is dropped. `counters` reads the kernel's counters; it is
/// called in the serving thread, once a scrape. Without it the metrics show none.
///
/// # Errors
/// When no thread can be started.
pub fn serve(
    bound: BoundHttp,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    counters: impl Fn() -> CounterSnapshot + Send + Sync + 'static,
) -> Result<HttpServer, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HttpError::Thread)?;
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .with_state(Arc::new(Served {
            metrics,
            heartbeat,
            counters: Box::new(counters),
        }));
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("http".into())
        .spawn(move || {
            be_ordinary();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(bound.listener, router) => {}
                    _ = stopped => {}
                }
            });
            // Connections that are still open end with the runtime.
        })
        .map_err(HttpError::Thread)?;
    Ok(HttpServer {
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// Gives up the favour of the scheduler that the control loop's thread may have asked for and that
/// threads inherit: no scrape is urgent.
fn be_ordinary() {
    // SAFETY: the call takes no memory. On Linux it changes the calling thread alone; a refusal
    // changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
}

/// The serving thread; dropped, it ends.
#[derive(Debug)]
pub struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It waits for nobody, so this takes as long as one answer at most. That it panicked
            // was said when it did.
            let _ = thread.join();
        }
    }
}

struct Served {
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    counters: Box<dyn Fn() -> CounterSnapshot + Send + Sync>,
}

async fn accept(listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "metrics are not served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    // A client that was too slow has only itself to tell.
                    let _ = timeout(CONNECTION, one_request(stream, router)).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most likely the process has no file descriptor left.
                tracing::warn!(%error, "cannot take a client of the metrics");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn one_request(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the metrics was cut off");
    }
}

async fn index() -> &'static str {
    "multihome: /metrics for Prometheus, /healthz for whether the controller is alive\n"
}

async fn scrape(State(served): State<Arc<Served>>) -> Response {
    served.metrics.set_counters((served.counters)());
    match served.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn health(State(served): State<Arc<Served>>) -> Response {
    let age = served.heartbeat.age(Instant::now());
    if age <= STALE {
        "ok\n".into_response()
    } else {
        let text = format!("the control loop has been silent for {} s\n", age.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

#[cfg(test)]
mod tests;
