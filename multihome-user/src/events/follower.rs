//! Writes events to one reader of the control socket.

use std::{os::fd::AsFd as _, time::Duration};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{sleep, timeout},
};

use super::{EventQuery, hub::Shared, ring::News};
use crate::control::protocol::{self, Response};

/// Events that are written at once.
const BATCH: usize = 64;
/// How often a reader who will not say more is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A reader that takes nothing for so long is left.
const STUCK: Duration = Duration::from_secs(60);

/// Tells a reader what he asks for, until he leaves, takes nothing for too long, or has all.
pub(super) async fn serve(stream: UnixStream, query: &EventQuery, shared: &Shared) {
    let (mut from_reader, mut to_reader) = stream.into_split();
    let told = async {
        if tell(&mut to_reader, query, shared).await.is_some() {
            let _ = write(&mut to_reader, &protocol::line(&Response::End)).await;
        }
    };
    tokio::select! {
        () = told => {}
        () = gone(&mut from_reader) => {}
    }
}

/// Nothing when the reader is lost.
async fn tell(stream: &mut OwnedWriteHalf, query: &EventQuery, shared: &Shared) -> Option<()> {
    let mut news = shared.news();
    let (kept, mut from) =
        shared.with_ring(|ring| (query.of_kept(ring.all().cloned()), ring.next()));
    for batch in kept.chunks(BATCH) {
        let lines = batch
            .iter()
            .flat_map(|record| protocol::line(&Response::Event(Box::new(record.as_ref().clone()))));
        write(stream, &lines.collect::<Vec<u8>>()).await?;
    }
    if !query.follow {
        return Some(());
    }
    loop {
        let News { skipped, records } = shared.with_ring(|ring| ring.since(from, BATCH));
        let Some(last) = records.last() else {
            if *news.borrow_and_update() == u64::MAX {
                return Some(());
            }
            // The sender lives as long as what is shared.
            news.changed().await.ok()?;
            continue;
        };
        from = last.seq + 1;
        let mut lines = Vec::new();
        if skipped > 0 {
            lines.extend(protocol::line(&Response::Skipped(skipped)));
        }
        for record in records.iter().filter(|record| query.fits(record)) {
            lines.extend(protocol::line(&Response::Event(Box::new(
                record.as_ref().clone(),
            ))));
        }
        write(stream, &lines).await?;
    }
}

async fn write(stream: &mut OwnedWriteHalf, bytes: &[u8]) -> Option<()> {
    timeout(STUCK, stream.write_all(bytes)).await.ok()?.ok()
}

/// Waits until the reader has closed the connection. What else he sends is not read for anything, and
/// he may say that he will not send more.
async fn gone(stream: &mut OwnedReadHalf) {
    let mut unread = [0; 256];
    while matches!(stream.read(&mut unread).await, Ok(1..)) {}
    while !is_closed(stream.as_ref()) {
        sleep(LOOK).await;
    }
}

/// Whether both directions are closed.
fn is_closed(stream: &UnixStream) -> bool {
    let mut file = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let closed = PollFlags::POLLHUP | PollFlags::POLLERR;
    let _ = poll(&mut file, PollTimeout::ZERO);
    file[0]
        .revents()
        .is_some_and(|events| events.intersects(closed))
}
