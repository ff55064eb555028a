//! What the tests of probing share: an uplink whose other end answers, and how to probe it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use multihome::probe::{
    ProbeEvent, ProbePlan, ProbeReport, ProbeTarget, Prober, TargetId, TargetKind,
};
use multihome_tests::lab::{Lab, Namespace};

pub const PATIENCE: Duration = Duration::from_secs(10);
pub const UPLINK: u8 = 3;
pub const DEVICE: u32 = 10;
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OURS4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
pub const OURS6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
pub const PEER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const PEER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Addresses that only the peer knows: there is no route to them.
pub const REMOTE4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
pub const REMOTE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));

pub fn inside<T: Send>(
    namespace: &Namespace,
    story: impl AsyncFnOnce(&Namespace) -> Result<T> + Send,
) -> Result<T> {
    namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(story(namespace))
    })?
}

/// A device `wan0` whose peer `isp0` has the addresses above. Reverse paths are checked strictly,
/// so that what a probe gets past is shown.
pub fn uplink(lab: &Lab) -> Result<[Namespace; 2]> {
    let [here, there] = lab.namespaces(["here", "there"])?;
    here.sysctl(&[
        "net.ipv4.conf.all.rp_filter=1",
        "net.ipv4.conf.default.rp_filter=1",
    ])?;
    // Kernels limit how many echo replies they send.
    there.sysctl(&[
        "-net.ipv4.icmp_msgs_per_sec=100000",
        "net.ipv6.icmp.ratelimit=0",
    ])?;
    connect(&here, &there, DEVICE)?;
    there.batch(&format!(
        "addr add {REMOTE4}/32 dev lo\naddr add {REMOTE6}/128 dev lo nodad"
    ))?;
    Ok([here, there])
}

pub fn connect(here: &Namespace, there: &Namespace, index: u32) -> Result<()> {
    here.batch(&format!(
        "link add wan0 index {index} type veth peer name isp0 index {} netns {}\n\
         link set wan0 address 02:00:00:00:00:02 up\n\
         addr add {OURS4}/24 dev wan0\n\
         addr add {OURS6}/64 dev wan0 nodad\n",
        index + 100,
        there.full_name()
    ))?;
    there.batch(&format!(
        "link set isp0 address 02:00:00:00:00:01 up\n\
         addr add {PEER4}/24 dev isp0\n\
         addr add {PEER6}/64 dev isp0 nodad\n\
         neigh replace {OURS6} lladdr 02:00:00:00:00:02 dev isp0 nud permanent\n\
         neigh replace {OURS4} lladdr 02:00:00:00:00:02 dev isp0 nud permanent\n",
    ))
}

pub fn id(target: IpAddr) -> TargetId {
    let next_hop = target == PEER4 || target == PEER6;
    let kind = if next_hop {
        TargetKind::NextHop
    } else {
        TargetKind::Remote
    };
    TargetId {
        kind,
        ..TargetId::echo(UPLINK, target)
    }
}

pub fn plan(ifindex: u32, targets: &[IpAddr]) -> Vec<ProbePlan> {
    let targets = targets.iter().map(|&target| ProbeTarget {
        id: id(target),
        service: None,
        source: if target.is_ipv4() { OURS4 } else { OURS6 },
        next_hop_mac: Some(PEER_MAC),
    });
    vec![ProbePlan {
        uplink: UPLINK,
        ifindex,
        targets: targets.collect(),
    }]
}

/// The prober's next outcome; an error of it is one of the test.
pub async fn outcome(prober: &mut Prober) -> Result<ProbeEvent> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match prober.next().await.context("the prober has ended")? {
                ProbeReport::Sent(_) | ProbeReport::Overdue(_) => {}
                ProbeReport::Event(event) => return Ok(event),
                ProbeReport::Error { error, .. } => return Err(error.into()),
            }
        }
    })
    .await
    .context("no outcome in ten seconds")?
}

/// Collects outcomes for a while.
pub async fn outcomes(prober: &mut Prober, span: Duration) -> Result<Vec<ProbeEvent>> {
    let until = Instant::now() + span;
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout_at(until.into(), outcome(prober)).await {
        events.push(event?);
    }
    Ok(events)
}
