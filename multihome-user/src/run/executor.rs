//! Carries out what the controller decides: the one place where its actions meet the kernel.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use multihome_common::state::IPV4;
use tokio::sync::mpsc;

use super::{RunError, family_name};
use crate::{
    bfd::BfdPlan,
    controller::{Action, Controller},
    dataplane::{Attached, Dataplane, DataplaneError, Runs, Tags},
    domains::Change,
    events::{Kind, Occurrence},
    exit,
    netlink::NeighbourResolver,
    offloads,
    policy::{self, Own, Rule},
    probe::{BurstPlan, ProbePlan},
    segments::{self, Segments},
    suspicion::Sign,
};

/// Neighbours that may wait to be asked for; what does not fit is asked for at a later tick.
const MAX_RESOLVING: usize = 1024;

/// A neighbour to ask for.
#[derive(Clone, Copy, Debug)]
struct Question {
    ifindex: u32,
    address: IpAddr,
    /// Also when the kernel holds its entry for fresh.
    now: bool,
}

/// A device to attach to.
#[derive(Clone, Debug)]
struct Attachment {
    slot: u32,
    device: String,
    ifindex: u32,
    runs: Runs,
    tags: Tags,
    /// That it cannot be attached was said once.
    said: bool,
}

/// What came of a batch of actions, for logs and metrics.
#[derive(Debug)]
pub struct Outcome {
    /// What happened, in its order.
    pub events: Vec<Occurrence>,
    /// When it was noticed.
    pub noticed: Instant,
    /// What to probe from now on, if that changed.
    pub plans: Option<Vec<ProbePlan>>,
    /// Whom to ask at once, and because of what.
    pub bursts: Vec<(Sign, BurstPlan)>,
    /// Whom to ask in quick succession.
    pub asks: Vec<BurstPlan>,
    /// What BFD sessions to hold from now on, if that changed.
    pub sessions: Option<Vec<BfdPlan>>,
    /// How long after it was noticed the first word that moves flows was stored.
    pub moved_after: Option<Duration>,
}

/// Carries out actions.
pub struct Executor {
    /// The kernel side.
    pub dataplane: Dataplane,
    resolving: mpsc::Sender<Question>,
    /// Held back until [`Executor::go`], then what could not be attached yet.
    waiting: BTreeMap<u32, Attachment>,
    going: bool,
    fix_offloads: bool,
}

impl Executor {
    /// An executor that fills tables at once and holds attachments back; with `fix_offloads` it switches off
    /// what hides tags from the programs.
    ///
    /// # Errors
    /// When neighbours cannot be asked for.
    pub fn new(dataplane: Dataplane, fix_offloads: bool) -> Result<Self, RunError> {
        let resolver = NeighbourResolver::new()?;
        let (resolving, mut queue) = mpsc::channel(MAX_RESOLVING);
        tokio::spawn(async move {
            while let Some(Question {
                ifindex,
                address,
                now,
            }) = queue.recv().await
            {
                let asked = if now {
                    resolver.confirm(ifindex, address).await
                } else {
                    resolver.resolve(ifindex, address).await
                };
                if let Err(error) = asked {
                    tracing::debug!("{error}: {:?}", std::error::Error::source(&error));
                }
            }
        });
        Ok(Self {
            dataplane,
            resolving,
            waiting: BTreeMap::new(),
            going: false,
            fix_offloads,
        })
    }

    /// Carries out the actions that an event at `noticed` caused.
    ///
    /// # Errors
    /// When a table cannot be written, which leaves kernel and controller of two minds.
    pub fn carry_out(
        &mut self,
        actions: Vec<Action>,
        noticed: Instant,
    ) -> Result<Outcome, RunError> {
        let mut outcome = Outcome {
            events: Vec::new(),
            noticed,
            plans: None,
            bursts: Vec::new(),
            asks: Vec::new(),
            sessions: None,
            moved_after: None,
        };
        for action in actions {
            self.act(action, noticed, &mut outcome)?;
        }
        Ok(outcome)
    }

    fn act(
        &mut self,
        action: Action,
        noticed: Instant,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        match action {
            Action::SetEligible(group, family, word) => {
                self.dataplane
                    .set_eligible(usize::from(group), family, word);
                outcome.moved_after.get_or_insert_with(|| noticed.elapsed());
            }
            Action::SetLastGood(group, family, word) => {
                self.dataplane
                    .set_last_good(usize::from(group), family, word);
            }
            Action::SetAlive(family, word) => self.dataplane.set_alive(family, word),
            Action::SetSettled(group, family, word) => {
                self.dataplane.set_settled(usize::from(group), family, word);
            }
            Action::SetTracked(word) => self.dataplane.set_tracked(word),
            Action::SetConduct(group, word) => {
                self.dataplane.set_conduct(usize::from(group), word);
            }
            Action::SetOutside(address, owner) => {
                self.dataplane.set_outside(address.to_bits(), owner)?;
            }
            Action::SetUplink(id, entry) => self.dataplane.set_uplink(id, entry)?,
            Action::Attach {
                slot,
                device,
                ifindex,
                runs,
                tags,
            } => {
                self.waiting.insert(
                    slot,
                    Attachment {
                        slot,
                        device,
                        ifindex,
                        runs,
                        tags,
                        said: false,
                    },
                );
                if self.going {
                    self.retry();
                }
            }
            Action::SetFraming(slot, framing) => self.dataplane.set_framing(slot, framing),
            Action::DropPort(entry) => self.dataplane.retain_ports(|kept| !kept.is_same(&entry))?,
            Action::SetPort(device, entry) => self.dataplane.set_port(&device, entry)?,
            Action::RemovePort(ifindex) => {
                self.waiting.retain(|_, waiting| waiting.ifindex != ifindex);
                self.dataplane
                    .retain_ports(|kept| kept.ifindex != ifindex)?;
                if let Err(error) = self.dataplane.release(ifindex) {
                    tracing::debug!("a device that is gone: {error}");
                }
            }
            Action::SetRules(rules, own) => self.set_rules(&rules, &own)?,
            Action::Domain(Change::Class(class, rules)) => {
                self.dataplane.set_domain_class(class, &rules)?;
            }
            Action::Domain(Change::Address(address, class)) => {
                self.dataplane.set_domain(address, class)?;
            }
            Action::SetSegments(family, segments) => self.set_segments(family, &segments)?,
            // Without a table in force there is nothing to stand on; later the old one serves.
            Action::SegmentsRefused(error) if !self.going => return Err(error.into()),
            Action::SegmentsRefused(error) => tracing::error!(
                "{error}; until then the table from before stays in force, and what changes in \
                 prefixes is not followed"
            ),
            Action::SegmentsFit(family) => tracing::info!(
                "the {} address ranges fit the table again",
                family_name(family)
            ),
            Action::SetHost(address, entry) => {
                // A full table is no harm: the kernel's own tables are asked then.
                if let Err(error) = self.dataplane.set_host(address, entry) {
                    tracing::warn!("LAN host {address}: {error}");
                }
            }
            Action::Probe(plans) => outcome.plans = Some(plans),
            Action::Burst { sign, plan } => outcome.bursts.push((sign, plan)),
            Action::Ask(plan) => outcome.asks.push(plan),
            Action::Bfd(sessions) => outcome.sessions = Some(sessions),
            Action::Resolve(ifindex, address) => {
                let _ = self.resolving.try_send(Question {
                    ifindex,
                    address,
                    now: false,
                });
            }
            Action::Confirm(ifindex, address) => {
                let _ = self.resolving.try_send(Question {
                    ifindex,
                    address,
                    now: true,
                });
            }
            Action::Treats(id, family, treatment) => outcome.events.push(
                Occurrence::new(Kind::TranslationChanged, treatment.to_string())
                    .uplink(id)
                    .family(family),
            ),
            Action::Event(occurrence) => outcome.events.push(occurrence),
        }
        Ok(())
    }

    fn set_rules(&mut self, rules: &[Rule], own: &[Own]) -> Result<(), RunError> {
        if rules.is_empty() && own.is_empty() {
            return Ok(self.dataplane.set_rules(None)?);
        }
        match policy::compile(rules, own) {
            Ok(book) => Ok(self.dataplane.set_rules(Some(&book))?),
            // The configuration's rules fit; what came with delegated prefixes may be too much.
            Err(error) => {
                tracing::error!("the rules stay as they were: {error}");
                Ok(())
            }
        }
    }

    fn set_segments(&mut self, family: usize, segments: &Segments) -> Result<(), RunError> {
        // The controller has seen to it that they fit.
        if family == IPV4 {
            if let Some(table) = segments::table4(segments) {
                self.dataplane.set_addresses4(&table)?;
            }
        } else if let Some(table) = segments::table6(segments) {
            self.dataplane.set_addresses6(&table)?;
        }
        Ok(())
    }

    /// Attaches all that was held back: uplinks first, so that what LAN ports steer finds them.
    ///
    /// # Errors
    /// When one fails; what this call attached is taken off again.
    pub fn go(&mut self) -> Result<(), DataplaneError> {
        self.going = true;
        let before = self.dataplane.attached()?;
        for attachment in std::mem::take(&mut self.waiting).into_values() {
            if let Err(error) = self.attach(&attachment) {
                // What it got before it failed too, such as the filter that tags the kernel's frames.
                let mut anew = self.dataplane.attached()?;
                anew.push(attachment.ifindex);
                for ifindex in anew {
                    if !before.contains(&ifindex) {
                        self.dataplane.release(ifindex)?;
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes what an earlier controller entered and this one does not know: devices that are no
    /// longer of the gateway, LAN hosts and outside addresses that are gone.
    ///
    /// # Errors
    /// When a table cannot be read or written.
    pub fn forget_strangers(&mut self, controller: &Controller) -> Result<(), DataplaneError> {
        let ours: Vec<u32> = controller.ports().collect();
        self.dataplane
            .retain_ports(|kept| controller.knows_port(kept))?;
        for ifindex in self.dataplane.attached()? {
            if !ours.contains(&ifindex) {
                self.dataplane.release(ifindex)?;
            }
        }
        for address in self.dataplane.hosts()? {
            if !controller.knows_host(address) {
                self.dataplane.set_host(address, None)?;
            }
        }
        for address in self.dataplane.outsides()? {
            if !controller.knows_outside(address.into()) {
                self.dataplane.set_outside(address, None)?;
            }
        }
        Ok(())
    }

    /// Tries again what could not be attached.
    pub fn retry(&mut self) {
        for (slot, mut attachment) in std::mem::take(&mut self.waiting) {
            match self.attach(&attachment) {
                Ok(()) => tracing::info!("{}: attached", attachment.device),
                Err(error) => {
                    if !attachment.said {
                        tracing::error!("{}", exit::message(&error));
                        attachment.said = true;
                    }
                    self.waiting.insert(slot, attachment);
                }
            }
        }
    }

    fn attach(&mut self, attachment: &Attachment) -> Result<(), DataplaneError> {
        let Attachment {
            slot,
            device,
            ifindex,
            runs,
            tags,
            said: _,
        } = attachment;
        self.dataplane.set_device(*slot, *ifindex)?;
        if *tags != Tags::None {
            let kernel_knows = *tags == Tags::Kernel;
            let switched = offloads::prepare(device, kernel_knows, self.fix_offloads)?;
            if !switched.is_empty() {
                tracing::info!("{device}: switched off {}", switched.join(", "));
            }
        }
        let own = *tags == Tags::Own;
        self.dataplane.tag_kernel_frames(device, *ifindex, own)?;
        let how = self.dataplane.attach(device, *ifindex, *runs)?;
        match how {
            Attached::Anew | Attached::TakenOver => tracing::debug!("{device}: attached {how:?}"),
            Attached::InOtherMode => tracing::warn!(
                "{device}: ran in another XDP mode; taken off and attached in the one asked for"
            ),
        }
        Ok(())
    }
}
