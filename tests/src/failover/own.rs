//! Trials of multihome itself, on the defaults of `multihome run`.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome::events::Kind;

use super::{connection, loss::Loss, report::Outcome, watch};
use crate::{
    lab::{
        controller::{FamilyStatus, Gateway, Settings, UplinkStatus},
        cut::Moment,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        bfd::{Program, Setup, Speaker},
        clock,
        flows::Flow,
    },
};

/// How long a gateway has run before an uplink of it is lost.
const WARM: Duration = Duration::from_secs(4);
/// How long BFD sessions may take to come up.
const SESSIONS: Duration = Duration::from_secs(20);
/// How long an uplink may be held back before its trial.
const HELD: Duration = Duration::from_secs(60);
/// How often it is looked whether the gateway has noticed something. It tells the time itself.
const LOOK: Duration = Duration::from_millis(100);
/// How far apart the packets of a watched flow are.
const INTERVAL: Duration = Duration::from_millis(1);
/// Four targets, which share the packets that an uplink's probes may take.
const TARGETS: [&str; 4] = [
    "203.0.113.10",
    "203.0.113.11",
    "2001:db8:d000::10",
    "2001:db8:d000::11",
];

/// A lab, and how multihome is started in it.
pub(super) struct Own {
    lab: GatewayLab,
    settings: Settings,
    loss: Loss,
}

impl Own {
    /// The network for trials of this loss.
    pub(super) fn new(binary: &Path, loss: Loss) -> Result<Self> {
        let lab = GatewayLab::new(&Plan {
            private: loss.translates(),
            ..Plan::default()
        })?;
        // The IPv6 one is never a source: the echo of packets to the first address must come from that.
        let more = [
            format!("addr add {}/24 dev eth0\n", TARGETS[1]),
            format!("addr add {}/64 dev eth0 preferred_lft 0\n", TARGETS[3]),
        ];
        lab.server.batch(&more.concat())?;
        let mut settings = Settings {
            options: Vec::new(),
            probe: TARGETS.map(String::from).into(),
            mode: if loss.translates() { "auto" } else { "routed" },
            more: if loss == Loss::Bfd {
                ",bfd=10msx3".to_owned()
            } else {
                String::new()
            },
            ..Settings::new(binary.to_path_buf())
        };
        if let Some(lines) = more_configuration(loss) {
            let path = lab.lab.dir().join("failover.toml");
            fs::write(&path, lines)?;
            let path = path.to_str().context("a path of the lab's own")?;
            settings.options = ["--config", path].map(String::from).into();
        }
        Ok(Self {
            lab,
            settings,
            loss,
        })
    }

    /// What each of so many trials gave.
    pub(super) fn trials(self, trials: u32) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        let mut speakers = Vec::new();
        if self.loss == Loss::Bfd {
            for uplink in 0..self.lab.uplinks.len() {
                speakers.push(Speaker::start(
                    &self.lab,
                    uplink,
                    Setup::fast(Program::Bird),
                )?);
            }
        }
        while outcomes.len() < trials as usize {
            // Each uplink is lost once in a gateway's life: one that flaps is held back, by design.
            let gateway = Gateway::start(&self.lab, self.settings.clone())?;
            if self.loss == Loss::Bfd {
                gateway.wait_for("all BFD sessions up", SESSIONS, |status| {
                    status.uplinks.iter().all(has_sessions)
                })?;
            }
            thread::sleep(WARM);
            // A session of 10 ms x 3 ends when this machine stands still for so long, and its uplink is held
            // back then, by design.
            gateway.wait_for("no uplink held back", HELD, |status| {
                let paths = status.uplinks.iter().flat_map(|it| it.families.values());
                paths.flatten().all(|path| path.held_until.is_none())
            })?;
            // Before any loss: an uplink that has come back takes no new flows for a while.
            let flows = if self.loss.has_flows() {
                watch::find(&self.lab)?
            } else {
                Vec::new()
            };
            for turn in 0..self.loss.losses_in_a_life(self.lab.uplinks.len()) {
                if outcomes.len() == trials as usize {
                    break;
                }
                let number = outcomes.len() + 1;
                let outcome = self
                    .trial(&gateway, turn, &flows, &mut speakers)
                    .with_context(|| format!("trial {number} of {}", self.loss.name()))?;
                if !outcome.is_within(self.loss.target_ms()) {
                    eprintln!("trial {number}: {outcome:?}");
                }
                outcomes.push(outcome);
            }
            let detached = gateway.run("detach", &[])?;
            let said = String::from_utf8_lossy(&detached.stderr);
            ensure!(detached.status.success(), "multihome detach: {said}");
        }
        self.lab.lab.remove()?;
        Ok(outcomes)
    }

    /// Loses an uplink that was not lost yet in this gateway's life: the one of this number, unless the
    /// loss chooses one itself.
    fn trial(
        &self,
        gateway: &Gateway<'_>,
        uplink: usize,
        flows: &[Flow],
        speakers: &mut [Speaker<'_>],
    ) -> Result<Outcome> {
        let Self { lab, loss, .. } = self;
        let (cut, patience) = (loss.cut(), loss.patience());
        let (uplink, took) = match loss {
            Loss::Carrier | Loss::Bfd | Loss::Blackhole => {
                let lose = || {
                    if let Some(speaker) = speakers.get_mut(uplink) {
                        speaker.freeze(true)?;
                    }
                    lab.cut(uplink, cut)
                };
                let took = watch::moved(lab, flows, INTERVAL, uplink, patience, lose)?;
                if let Some(speaker) = speakers.get_mut(uplink) {
                    speaker.freeze(false)?;
                }
                (uplink, took)
            }
            Loss::Idle => {
                let lost = lab.cut(uplink, cut)?;
                (
                    uplink,
                    told(gateway, uplink, Kind::UplinkDown, lost, patience)?,
                )
            }
            Loss::Lossy => {
                let lost = lab.cut(uplink, cut)?;
                (uplink, told(gateway, uplink, Kind::Sick, lost, patience)?)
            }
            Loss::Connection => connection::trial(lab, patience)?,
        };
        lab.restore(uplink, cut)?;
        gateway.wait_for_state(uplink, "up")?;
        Ok(match took {
            Some(took) => Outcome::After(took),
            None => Outcome::NotWithin(patience),
        })
    }
}

/// How many milliseconds after the loss an event of this kind was told of the uplink; none when it was
/// not in time.
fn told(
    gateway: &Gateway<'_>,
    uplink: usize,
    kind: Kind,
    lost: Moment,
    patience: Duration,
) -> Result<Option<f64>> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(at) = gateway.event_since(uplink, kind, lost.before)? {
            return Ok(Some(clock::milliseconds(lost.before, at)));
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}

/// Whether an uplink's BFD sessions of both families are up.
fn has_sessions(uplink: &UplinkStatus) -> bool {
    let bfd = |family: &FamilyStatus| family.bfd.as_ref().is_some_and(|bfd| bfd.state == "up");
    uplink.families.len() == 2 && uplink.families.values().flatten().all(bfd)
}

/// What a loss needs besides the defaults.
fn more_configuration(loss: Loss) -> Option<&'static str> {
    match loss {
        Loss::Lossy => Some("sla = { loss = \"5%\" }\n"),
        Loss::Carrier | Loss::Bfd | Loss::Blackhole | Loss::Idle | Loss::Connection => None,
    }
}
