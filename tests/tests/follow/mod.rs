//! What the tests of the mirror share: two uplinks, and somebody who follows events.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result, bail};
use multihome::netlink::{NetEvent, NetState, NetlinkError, Watcher};
use multihome_tests::lab::{Lab, Namespace};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs an asynchronous story on a thread of its own in the namespace.
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

/// A watcher, and the state that its events make.
pub struct Follower {
    watcher: Watcher,
    waiting: VecDeque<NetEvent>,
    /// What the events have made of the first listing.
    pub state: NetState,
}

impl Follower {
    pub async fn start() -> Result<Self> {
        let (watcher, state) = Watcher::start().await?;
        Ok(Self {
            watcher,
            waiting: VecDeque::new(),
            state,
        })
    }

    pub async fn next(&mut self) -> Result<NetEvent, NetlinkError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.state.apply(&event);
                return Ok(event);
            }
            let events = self.watcher.next(100).await?;
            self.waiting
                .extend(events.into_iter().map(|noticed| noticed.event));
        }
    }

    /// Follows events until this holds for one and the state after it.
    pub async fn event(
        &mut self,
        holds: impl Fn(&NetEvent, &NetState) -> bool,
    ) -> Result<NetEvent> {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.next().await?;
                if holds(&event, &self.state) {
                    return Ok::<_, NetlinkError>(event);
                }
                seen.push(event);
            }
        });
        match found.await {
            Ok(event) => Ok(event?),
            Err(_) => bail!("not in ten seconds; seen: {seen:#?}"),
        }
    }

    /// Follows events until this holds for the state, or already does.
    pub async fn state(&mut self, what: &str, holds: impl Fn(&NetState) -> bool) -> Result<()> {
        if holds(&self.state) {
            return Ok(());
        }
        self.event(|_, state| holds(state))
            .await
            .map(drop)
            .with_context(|| what.to_owned())
    }
}

/// Two namespaces joined by two pairs of devices, up on both ends: `wan0` and `wan1` here, `isp0`
/// and `isp1` there. The ends have different indexes; see `lab::link::End`.
pub fn two_uplinks(lab: &Lab) -> Result<[Namespace; 2]> {
    let [here, there] = lab.namespaces(["here", "there"])?;
    for pair in 0..2 {
        here.batch(&format!(
            "link add wan{pair} index {} type veth peer name isp{pair} index {} netns {}\n\
             link set wan{pair} up\n",
            10 + pair,
            20 + pair,
            there.full_name()
        ))?;
        there.batch(&format!("link set isp{pair} up"))?;
    }
    Ok([here, there])
}
