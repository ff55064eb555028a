//! One `recvmsg` on a packet socket: the packet, when the kernel received it, and whether its
//! checksum was computed at all.

use std::{
    io, mem,
    os::fd::AsRawFd,
    ptr,
    time::{Duration, Instant, SystemTime},
};

use socket2::Socket;

/// Room for the two control messages asked for.
const CONTROL_LEN: usize = 128;

/// What is known of a received packet besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// How many bytes of it are in the buffer, from the IP header on.
    pub len: usize,
    /// The kernel's clock when the packet came in.
    timestamp: Option<SystemTime>,
    /// The sender left the checksum to a card that the packet never passed.
    pub checksum_not_ready: bool,
}

impl Arrival {
    /// When the kernel received it, in terms of the monotonic clock. Differences of zero up to
    /// `max` are believed; any other means that the wall clock was set meanwhile.
    pub fn received(&self, max: Duration) -> Instant {
        let now = Instant::now();
        self.timestamp
            .and_then(|timestamp| SystemTime::now().duration_since(timestamp).ok())
            .filter(|lateness| *lateness <= max)
            .and_then(|lateness| now.checked_sub(lateness))
            .unwrap_or(now)
    }
}

/// Bytes of the longest packet that is received as a whole; longer ones are foreign to whoever uses
/// this, and cut, which makes them invalid.
pub(crate) const PACKET_LEN: usize = 192;

/// A short packet from the IP header on.
pub(crate) struct Packet {
    buffer: [u8; PACKET_LEN],
    arrival: Arrival,
    /// See [`Arrival::checksum_not_ready`].
    pub checksum_not_ready: bool,
}

impl Packet {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.arrival.len]
    }

    /// See [`Arrival::received`].
    pub fn received(&self, max: Duration) -> Instant {
        self.arrival.received(max)
    }
}

/// Receives one short packet without blocking.
pub(crate) fn packet(socket: &Socket) -> io::Result<Packet> {
    let mut buffer = [0; PACKET_LEN];
    let arrival = into(socket, &mut buffer)?;
    Ok(Packet {
        buffer,
        arrival,
        checksum_not_ready: arrival.checksum_not_ready,
    })
}

/// Aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// Receives one packet without blocking; what the buffer has no room for is cut off.
pub(crate) fn into(socket: &Socket, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut packet = Arrival {
        len: 0,
        timestamp: None,
        checksum_not_ready: false,
    };
    let mut control = Control([0; CONTROL_LEN]);
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid `msghdr`: no address, no data, no control buffer.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN;
    // SAFETY: every pointer in `message` is to a local buffer of the length given beside it.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(len) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    packet.len = len.min(buffer.len());

    // SAFETY: the kernel filled `message`, whose control buffer is alive and aligned.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: `header` points to a whole control message inside the control buffer.
        let (level, kind, len) = unsafe {
            (
                (*header).cmsg_level,
                (*header).cmsg_type,
                (*header).cmsg_len,
            )
        };
        // SAFETY: the data begins right behind the header.
        let value = unsafe { libc::CMSG_DATA(header) };
        let holds = |size: usize| len >= control_len(size);
        if level == libc::SOL_SOCKET
            && kind == libc::SCM_TIMESTAMPNS
            && holds(size_of::<libc::timespec>())
        {
            // SAFETY: the message is long enough for a `timespec`, read without alignment.
            let time = unsafe { ptr::read_unaligned(value.cast::<libc::timespec>()) };
            packet.timestamp = system_time(time);
        } else if level == libc::SOL_PACKET
            && kind == libc::PACKET_AUXDATA
            && holds(size_of::<libc::tpacket_auxdata>())
        {
            // SAFETY: the message is long enough for the structure, read without alignment.
            let aux = unsafe { ptr::read_unaligned(value.cast::<libc::tpacket_auxdata>()) };
            packet.checksum_not_ready = aux.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
        }
        // SAFETY: as for the first header; the result is null behind the last one.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(packet)
}

/// The length field of a control message with `size` bytes of data.
fn control_len(size: usize) -> usize {
    // SAFETY: a computation on its argument, which is small.
    unsafe { libc::CMSG_LEN(size as u32) as usize }
}

fn system_time(time: libc::timespec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    // Zero is what the kernel says when it has no timestamp.
    (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp: Option<SystemTime>) -> Arrival {
        Arrival {
            len: 0,
            timestamp,
            checksum_not_ready: false,
        }
    }

    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn time_in_the_queue_is_taken_off() {
        let waited = Duration::from_millis(200);
        let received = packet(Some(SystemTime::now() - waited)).received(MAX);
        let lateness = received.elapsed();
        assert!(
            (waited..waited + Duration::from_millis(50)).contains(&lateness),
            "{lateness:?}"
        );
    }

    #[test]
    fn a_clock_that_was_set_is_not_believed() {
        let hour = Duration::from_secs(3600);
        for timestamp in [SystemTime::now() - hour, SystemTime::now() + hour] {
            let received = packet(Some(timestamp)).received(MAX);
            assert!(received.elapsed() < Duration::from_secs(1));
        }
        assert!(packet(None).received(MAX).elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn timestamps_are_converted() {
        let time = system_time(libc::timespec {
            tv_sec: 5,
            tv_nsec: 7,
        });
        assert_eq!(time, Some(SystemTime::UNIX_EPOCH + Duration::new(5, 7)));
        assert_eq!(
            system_time(libc::timespec {
                tv_sec: 0,
                tv_nsec: 0
            }),
            None
        );
    }
}
