//! Replies that nobody should believe.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, bail, ensure};
use multihome::probe::{Outcome, ProbeEvent, ProbeSettings, Prober};
use multihome_tests::lab::Lab;

mod uplink;

use uplink::{
    DEVICE, OURS4, OURS6, PEER4, PEER6, REMOTE4, REMOTE6, inside, outcomes, plan, uplink,
};

fn lost(events: &[ProbeEvent]) -> usize {
    events
        .iter()
        .filter(|event| event.outcome == Outcome::Lost)
        .count()
}

/// What a neighbour without the right to answer tries: it sees nothing but its own packets, yet it
/// knows addresses, identifier and sequence number.
#[test]
fn forged_replies_do_not_count() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    for (ours, target) in [(OURS4, REMOTE4), (OURS6, REMOTE6)] {
        // The target itself is silent, but its host sees the requests.
        there.sysctl(&[
            "net.ipv4.icmp_echo_ignore_all=1",
            "net.ipv6.icmp.echo_ignore_all=1",
        ])?;
        let forger = there.enter(|| Forger::open(ours, target))??;
        inside(&here, async |_| {
            let timeout = Duration::from_millis(100);
            let settings = ProbeSettings {
                interval: Duration::from_millis(20),
                timeout: Some(timeout),
                rate: None,
            };
            let mut prober = Prober::start(settings)?;
            prober.set_plans(plan(DEVICE, &[target]));
            for forgery in Forgery::ALL {
                let (mut answers, mut events) = (0, Vec::new());
                while answers < 30 {
                    events.extend(outcomes(&mut prober, Duration::from_millis(2)).await?);
                    answers += forger.answer(forgery)?;
                }
                events.extend(outcomes(&mut prober, timeout * 2).await?);
                let counted = events.len() - lost(&events);
                println!("{target} {forgery:?}: {answers} answers, {counted} counted");
                if forgery == Forgery::None {
                    ensure!(counted >= 10, "true replies do not count");
                } else {
                    ensure!(counted == 0 && !events.is_empty(), "{events:?}");
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    Cookie,
    NoCookie,
    Sequence,
    Identifier,
    Source,
    Checksum,
    /// Nothing: this one must count, or the others prove nothing.
    None,
}

impl Forgery {
    const ALL: [Self; 7] = [
        Self::Cookie,
        Self::NoCookie,
        Self::Sequence,
        Self::Identifier,
        Self::Source,
        Self::Checksum,
        Self::None,
    ];
}

/// Reads echo requests and answers them, more or less.
struct Forger {
    ours: IpAddr,
    target: IpAddr,
    requests: socket2::Socket,
    replies: socket2::Socket,
}

impl Forger {
    fn open(ours: IpAddr, target: IpAddr) -> Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let (domain, icmp, ip) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, libc::IPPROTO_RAW),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, libc::IPPROTO_RAW),
        };
        let requests = Socket::new(domain, Type::RAW, Some(icmp))?;
        requests.set_nonblocking(true)?;
        let replies = Socket::new(domain, Type::RAW, Some(Protocol::from(ip)))?;
        Ok(Self {
            ours,
            target,
            requests,
            replies,
        })
    }

    /// Answers all requests there are; returns how many.
    fn answer(&self, forgery: Forgery) -> Result<usize> {
        let mut answered = 0;
        loop {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 256];
            let len = match self.requests.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(answered);
                }
                Err(error) => return Err(error.into()),
            };
            // SAFETY: the kernel has written `len` bytes.
            let bytes = buffer[..len]
                .iter()
                .map(|byte| unsafe { byte.assume_init() });
            let bytes: Vec<u8> = bytes.collect();
            // IPv4 raw sockets give the header too; IPv6 ones do not.
            let message = if self.target.is_ipv4() {
                &bytes[20..]
            } else {
                &bytes[..]
            };
            if !matches!(message.first(), Some(8 | 128)) || message.len() != 16 {
                continue;
            }
            let reply = self.reply(message, forgery)?;
            let to = std::net::SocketAddr::new(self.ours, 0);
            self.replies.send_to(&reply, &to.into())?;
            answered += 1;
        }
    }

    fn reply(&self, request: &[u8], forgery: Forgery) -> Result<Vec<u8>> {
        let mut ident = u16::from_be_bytes([request[4], request[5]]);
        let mut seq = u16::from_be_bytes([request[6], request[7]]);
        let mut data = request[8..].to_vec();
        let mut source = self.target;
        match forgery {
            Forgery::Cookie => data[7] ^= 1,
            Forgery::NoCookie => data.clear(),
            Forgery::Sequence => seq = seq.wrapping_add(1),
            Forgery::Identifier => ident = ident.wrapping_add(1),
            Forgery::Source => source = if source.is_ipv4() { PEER4 } else { PEER6 },
            Forgery::Checksum | Forgery::None => {}
        }
        let mut packet = Vec::new();
        match (source, self.ours) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 64)
                    .icmpv4_echo_reply(ident, seq)
                    .write(&mut packet, &data)?;
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64)
                    .icmpv6_echo_reply(ident, seq)
                    .write(&mut packet, &data)?;
            }
            mixed => bail!("{mixed:?}"),
        }
        if forgery == Forgery::Checksum {
            // The checksum's own low byte, after the header of 20 or 40 bytes.
            let at = packet.len() - data.len() - 8 + 3;
            packet[at] ^= 1;
        }
        Ok(packet)
    }
}
