//! Tells a web server of an event: a POST of its JSON over HTTP/1.1, with or without TLS.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{sleep, timeout},
};

use super::Failure;
use crate::{
    config::HookUrl,
    events::Record,
    tls::{self, TlsError},
};

/// How long to wait before each further attempt: right after a failure, the way to the server may be
/// one that is just being left.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// The largest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Why one attempt failed.
#[derive(Debug, Error)]
enum PostError {
    #[error("cannot find {0}")]
    Lookup(String, #[source] io::Error),
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("no TLS connection")]
    Tls(#[from] TlsError),
    #[error("no answer")]
    Http(#[from] hyper::Error),
    #[error("the server answered with status {0}")]
    Status(StatusCode),
    #[error("it took too long")]
    Timeout,
}

impl PostError {
    /// Whether another attempt may bring something else.
    fn is_passing(&self) -> bool {
        match self {
            Self::Status(status) => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Tls(TlsError::Authorities(_) | TlsError::Name(_)) => false,
            Self::Lookup(..)
            | Self::NoAddress(_)
            | Self::Connect(_)
            | Self::Tls(TlsError::Handshake(_))
            | Self::Http(_)
            | Self::Timeout => true,
        }
    }
}

/// Posts an event, with as long as `limit` for each of up to three attempts.
pub async fn post(url: &HookUrl, limit: Duration, record: &Record) -> Result<(), Failure> {
    let json = serde_json::to_string(record).expect("maps with text keys are always JSON");
    let mut pauses = PAUSES.iter();
    loop {
        let error = match timeout(limit, attempt(url, limit, json.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => PostError::Timeout,
        };
        match pauses.next() {
            Some(pause) if error.is_passing() => sleep(*pause).await,
            Some(_) | None => {
                return Err(if matches!(error, PostError::Timeout) {
                    Failure::Timeout
                } else {
                    Failure::Failed(in_words(&error))
                });
            }
        }
    }
}

fn in_words(error: &PostError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    // A server chooses some of it.
    text.replace(char::is_control, " ")
}

async fn attempt(url: &HookUrl, limit: Duration, json: String) -> Result<(), PostError> {
    let stream = connect(url, limit).await?;
    let status = if url.is_tls() {
        let stream = tls::connect(stream, url.host()).await?;
        exchange(stream, url, json).await?
    } else {
        exchange(stream, url, json).await?
    };
    if status.is_success() {
        Ok(())
    } else {
        Err(PostError::Status(status))
    }
}

/// Connects to the first address that answers; each gets its part of the time, so that one family that
/// is dead does not take all of it.
async fn connect(url: &HookUrl, limit: Duration) -> Result<TcpStream, PostError> {
    let host = url.host();
    let addresses: Vec<SocketAddr> = lookup_host((host, url.port()))
        .await
        .map_err(|error| PostError::Lookup(host.to_owned(), error))?
        .collect();
    let share = limit / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut last = PostError::NoAddress(host.to_owned());
    for address in addresses {
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => PostError::Connect(error),
            Err(_) => PostError::Timeout,
        };
    }
    Err(last)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &HookUrl,
    json: String,
) -> Result<StatusCode, PostError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(url.path())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("multihome/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(json)
        .expect("path and authority are those of a URL");
    let mut response = pin!(sender.send_request(request));
    // The connection makes progress beside the request. When it ends, the response is there, or why
    // there is none.
    let response = tokio::select! {
        response = &mut response => response?,
        _ = connection => response.await?,
    };
    Ok(response.status())
}
