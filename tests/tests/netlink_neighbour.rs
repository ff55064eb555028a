//! Having the real kernel resolve and confirm neighbours.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome::netlink::{NeighbourResolver, NeighbourState, NetEvent, NetlinkError, Watcher};
use multihome_tests::lab::{Lab, Namespace};

const PATIENCE: Duration = Duration::from_secs(10);
const DEVICE: u32 = 10;

fn inside<T: Send>(
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

/// A device `wan0` whose peer `isp0` has 192.0.2.1 and 2001:db8::1.
fn uplink(lab: &Lab) -> Result<[Namespace; 2]> {
    let [here, there] = lab.namespaces(["here", "there"])?;
    here.batch(&format!(
        "link add wan0 index {DEVICE} type veth peer name isp0 index 20 netns {}\n\
         link set wan0 up\n\
         addr add 192.0.2.2/24 dev wan0\n\
         addr add 2001:db8::2/64 dev wan0 nodad\n",
        there.full_name()
    ))?;
    there.batch(
        "link set isp0 address 02:00:00:00:00:01 up\n\
         addr add 192.0.2.1/24 dev isp0\n\
         addr add 2001:db8::1/64 dev isp0 nodad\n",
    )?;
    Ok([here, there])
}

const PEERS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// Waits for an event that brings this neighbour into one of these states.
async fn state(
    watcher: &mut Watcher,
    neighbour: IpAddr,
    wanted: &[NeighbourState],
) -> Result<Option<[u8; 6]>> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            for noticed in watcher.next(1).await? {
                if let NetEvent::Neighbour {
                    ifindex: DEVICE,
                    address,
                    neighbour: entry,
                } = noticed.event
                    && address == neighbour
                    && wanted.contains(&entry.state)
                {
                    return Ok(entry.mac);
                }
            }
        }
    })
    .await
    .with_context(|| format!("{neighbour} never became one of {wanted:?}"))?
}

#[test]
fn an_unknown_neighbour_is_resolved() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = uplink(&lab)?;
    inside(&here, async |_| {
        let (mut watcher, _) = Watcher::start().await?;
        let resolver = NeighbourResolver::new()?;
        for peer in PEERS {
            let peer = peer.parse()?;
            let asked = Instant::now();
            resolver.resolve(DEVICE, peer).await?;
            let mac = state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
            println!("{peer} resolved in {:?}", asked.elapsed());
            ensure!(mac == Some([2, 0, 0, 0, 0, 1]));
            // A second time does no harm.
            resolver.resolve(DEVICE, peer).await?;
        }
        Ok(())
    })
}

#[test]
fn a_known_neighbour_is_confirmed_each_time_it_is_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    inside(&here, async |_| {
        let (mut watcher, _) = Watcher::start().await?;
        let resolver = NeighbourResolver::new()?;
        for peer in PEERS {
            let peer = peer.parse()?;
            resolver.confirm(DEVICE, peer).await?;
            state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
            for _ in 0..3 {
                let asked = Instant::now();
                resolver.confirm(DEVICE, peer).await?;
                let mac = state(&mut watcher, peer, &[NeighbourState::Probe]).await?;
                ensure!(mac == Some([2, 0, 0, 0, 0, 1]), "the MAC address must stay");
                state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
                ensure!(
                    asked.elapsed() < Duration::from_millis(900),
                    "{:?}",
                    asked.elapsed()
                );
            }
        }
        // A neighbour that is not there any more is found out, however often one asks.
        there.batch("addr del 192.0.2.1/24 dev isp0")?;
        let peer: IpAddr = PEERS[0].parse()?;
        let asking = async {
            loop {
                resolver.confirm(DEVICE, peer).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            failed = state(&mut watcher, peer, &[NeighbourState::Failed]) => failed.map(drop),
            error = asking => error,
        }
    })
}

/// The kernel by itself would ask again after a second only.
#[test]
fn a_question_that_was_lost_is_asked_again() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    inside(&here, async |_| {
        let (mut watcher, _) = Watcher::start().await?;
        let resolver = NeighbourResolver::new()?;
        let peer = PEERS[0].parse()?;
        resolver.resolve(DEVICE, peer).await?;
        state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
        let ask = async |times: u32| {
            for _ in 0..times {
                resolver.confirm(DEVICE, peer).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, NetlinkError>(())
        };
        there.batch("link set isp0 arp off")?;
        ask(3).await?;
        there.batch("link set isp0 arp on")?;
        let listening = Instant::now();
        ask(1).await?;
        state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
        ensure!(
            listening.elapsed() < Duration::from_millis(900),
            "{:?}",
            listening.elapsed()
        );
        Ok(())
    })
}

#[test]
fn a_neighbour_that_does_not_answer_fails() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = uplink(&lab)?;
    inside(&here, async |_| {
        let (mut watcher, _) = Watcher::start().await?;
        let resolver = NeighbourResolver::new()?;
        for absent in ["192.0.2.77", "2001:db8::77"] {
            let absent = absent.parse()?;
            resolver.resolve(DEVICE, absent).await?;
            let mac = state(&mut watcher, absent, &[NeighbourState::Failed]).await?;
            ensure!(mac.is_none());
        }
        Ok(())
    })
}

#[test]
fn an_entry_made_by_hand_is_left_alone() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = uplink(&lab)?;
    inside(&here, async |here| {
        let by_hand = "02:00:00:00:00:99";
        here.batch(&format!(
            "neigh add 192.0.2.1 lladdr {by_hand} dev wan0 nud permanent"
        ))?;
        let resolver = NeighbourResolver::new()?;
        resolver.resolve(DEVICE, PEERS[0].parse()?).await?;
        resolver.confirm(DEVICE, PEERS[0].parse()?).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let shown = here.output(&["ip", "neigh", "show", "192.0.2.1"])?;
        ensure!(
            shown.contains(by_hand) && shown.contains("PERMANENT"),
            "{shown}"
        );
        Ok(())
    })
}

#[test]
fn entries_of_ours_are_not_permanent() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = uplink(&lab)?;
    inside(&here, async |here| {
        let (mut watcher, _) = Watcher::start().await?;
        let resolver = NeighbourResolver::new()?;
        let peer = PEERS[0].parse()?;
        resolver.resolve(DEVICE, peer).await?;
        state(&mut watcher, peer, &[NeighbourState::Reachable]).await?;
        let shown = here.output(&["ip", "neigh", "show", PEERS[0]])?;
        ensure!(
            shown.contains("REACHABLE") && !shown.contains("PERMANENT"),
            "{shown}"
        );
        Ok(())
    })
}

#[test]
fn a_device_that_is_not_there_is_a_clear_error() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = uplink(&lab)?;
    inside(&here, async |_| {
        let resolver = NeighbourResolver::new()?;
        for asked in [
            resolver.resolve(999, PEERS[0].parse()?).await,
            resolver.confirm(999, PEERS[1].parse()?).await,
        ] {
            let error = asked.err().context("there is no such device")?;
            ensure!(error.to_string().contains("index 999"), "{error}");
            let NetlinkError::Neighbour { source, .. } = error else {
                anyhow::bail!("{error:?}");
            };
            ensure!(source.raw_os_error() == Some(libc::ENODEV), "{source:?}");
        }
        Ok(())
    })
}
