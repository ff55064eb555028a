//! Runs a [`ProbeSchedule`] over the sockets of all uplinks, as a task of its own, so that what
//! else the controller does never delays a probe or the reading of a reply.

use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    net::IpAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use rand::{
    RngExt, SeedableRng, TryRng,
    rngs::{StdRng, SysRng},
};
use tokio::sync::mpsc;

use super::{
    Family, ProbeAction, ProbeError, ProbeEvent, ProbeSchedule, ProbeSettings, TargetId,
    service::Service,
    services::{Ended, Probe, Road, Services},
    socket::{EchoReply, EchoRequest, EchoSocket},
};

/// The most replies read from one socket before the others and the schedule get their turn, so
/// that a flood on one uplink cannot hold up the rest.
const REPLIES_AT_ONCE: usize = 64;
/// Sending takes some microseconds; if it took longer than this, the thread was held up in it.
const HELD_UP: Duration = Duration::from_millis(5);
/// How long replies may wait to be read together while nothing is in haste: the kernel has noted when each came
/// in. With many uplinks a wake-up for each of them is most of what probing costs.
const GATHER: Duration = Duration::from_millis(50);
/// Reports that may wait for the controller. When it does not fetch them, probing pauses.
const MAX_REPORTS: usize = 4096;

/// All that is probed over one uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// The uplink's number, 0..=63.
    pub uplink: u8,
    /// Its device.
    pub ifindex: u32,
    /// Whom to ask.
    pub targets: Vec<ProbeTarget>,
}

/// One target of an uplink and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The target; its `uplink` is that of the plan.
    pub id: TargetId,
    /// What it is asked; `None` is a ping.
    pub service: Option<Arc<Service>>,
    /// Our address on the device, of the target's family.
    pub source: IpAddr,
    /// The next hop's MAC address; `None` on devices without MAC addresses.
    pub next_hop_mac: Option<[u8; 6]>,
}

/// Targets to ask at once, see [`ProbeSchedule::burst`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstPlan {
    /// Whom to ask; targets of no plan are passed over.
    pub targets: Vec<TargetId>,
    /// How often each, at most.
    pub probes: u32,
    /// The longest time between two probes of one target.
    pub step: Duration,
    /// All of the probes are sent, whatever the target answers: for who wants to know how many of them are
    /// lost. Otherwise a target's first answer ends its burst.
    pub whole: bool,
}

/// What the prober tells.
#[derive(Debug)]
pub enum ProbeReport {
    /// A probe was sent (for counting).
    Sent(TargetId),
    /// A probe's fate.
    Event(ProbeEvent),
    /// A probe of this target is not answered yet although others were by then.
    Overdue(TargetId),
    /// A socket could not be opened or used. The prober goes on, and tries again with the next
    /// plan or probe; probes that could not be sent count as lost, except when only a local queue
    /// was full.
    Error {
        /// The uplink.
        uplink: u8,
        /// What happened.
        error: ProbeError,
    },
}

/// What the task is told.
#[derive(Debug)]
enum Order {
    Plans(Vec<ProbePlan>),
    Burst(BurstPlan),
}

/// A handle to the probing task; dropping it ends the task.
#[derive(Debug)]
pub struct Prober {
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::Receiver<ProbeReport>,
    ident: u16,
}

impl Prober {
    /// Starts probing, with no targets yet. Sockets are opened in the network namespace of the
    /// thread that runs the task: start it on a runtime all of whose threads are in one namespace.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: ProbeSettings) -> Result<Self, ProbeError> {
        let mut seed = [0; 32];
        let random = |error: rand::rngs::SysError| ProbeError::Random(error.to_string());
        SysRng.try_fill_bytes(&mut seed).map_err(random)?;
        let mut of_services = [0; 32];
        SysRng.try_fill_bytes(&mut of_services).map_err(random)?;
        let ident = SysRng.try_next_u32().map_err(random)? as u16;
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (report_queue, reports) = mpsc::channel(MAX_REPORTS);
        let task = Task {
            schedule: ProbeSchedule::new(settings, seed),
            ident,
            sockets: BTreeMap::new(),
            services: Services::default(),
            random: StdRng::from_seed(of_services),
            targets: BTreeMap::new(),
            reports: Vec::new(),
        };
        tokio::spawn(task.run(order_queue, report_queue));
        Ok(Self {
            orders,
            reports,
            ident,
        })
    }

    /// The identifier of all its echo requests.
    pub fn ident(&self) -> u16 {
        self.ident
    }

    /// Makes these the plans. What is unchanged goes on undisturbed; see
    /// [`ProbeSchedule::set_targets`].
    pub fn set_plans(&self, plans: Vec<ProbePlan>) {
        // The task only ends when this handle is gone.
        let _ = self.orders.send(Order::Plans(plans));
    }

    /// Asks these targets at once.
    pub fn burst(&self, burst: BurstPlan) {
        let _ = self.orders.send(Order::Burst(burst));
    }

    /// The next report; `None` when the task has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<ProbeReport> {
        self.reports.recv().await
    }

    /// Waits for reports and takes all that are there, `most` at most; `None` when the task has ended.
    /// Cancel-safe.
    pub async fn next_ones(&mut self, most: usize) -> Option<Vec<ProbeReport>> {
        let mut reports = Vec::new();
        let count = self.reports.recv_many(&mut reports, most).await;
        (count > 0).then_some(reports)
    }
}

/// What is needed to send to a target.
struct Way {
    road: Road,
    /// `None` is a ping.
    service: Option<Arc<Service>>,
}

struct Task {
    schedule: ProbeSchedule,
    ident: u16,
    /// By device and family; the uplink is that of the device's plan.
    sockets: BTreeMap<(u32, Family), (u8, EchoSocket)>,
    services: Services,
    /// For ports, sequence numbers and identifiers of exchanges.
    random: StdRng,
    targets: BTreeMap<TargetId, Way>,
    /// What to report at the end of this round.
    reports: Vec<ProbeReport>,
}

impl Task {
    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        reports: mpsc::Sender<ProbeReport>,
    ) {
        let mut read = Instant::now();
        loop {
            let gathered = if self.schedule.is_in_haste() {
                read
            } else {
                read + GATHER
            };
            let exchanges = self.services.next_deadline(Instant::now());
            let deadline = [self.schedule.next_deadline(), exchanges];
            let deadline = deadline.into_iter().flatten().min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Plans(plans)) => self.set_plans(plans),
                    Some(Order::Burst(BurstPlan { targets, probes, step, whole })) => {
                        let now = Instant::now();
                        if whole {
                            self.schedule.burst_whole(&targets, probes, step, now);
                        } else {
                            self.schedule.burst(&targets, probes, step, now);
                        }
                    }
                    None => return,
                },
                () = self.readable_from(gathered) => {}
                () = sleep_until(deadline) => {}
            }
            let now = Instant::now();
            // Before a probe is called lost, the kernel itself is asked for replies.
            let would_lose = self.schedule.would_lose(now);
            self.drain(would_lose);
            read = now;
            self.go_on(now, would_lose);
            self.carry_out(now);
            for report in self.reports.drain(..) {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
        }
    }

    fn set_plans(&mut self, plans: Vec<ProbePlan>) {
        let (mut pinged, mut asked) = (BTreeMap::new(), BTreeMap::new());
        self.targets.clear();
        for ProbePlan {
            uplink,
            ifindex,
            targets,
        } in plans
        {
            for ProbeTarget {
                id,
                service,
                source,
                next_hop_mac,
            } in targets
            {
                let key = (ifindex, Family::of(id.target));
                match &service {
                    None => pinged.insert(key, uplink),
                    Some(_) => asked.insert(key, uplink),
                };
                let road = Road {
                    ifindex,
                    source,
                    next_hop_mac,
                };
                self.targets.insert(id, Way { road, service });
            }
        }
        self.sockets
            .retain(|key, (uplink, _)| pinged.get(key) == Some(uplink));
        self.schedule
            .set_targets(self.targets.keys().copied(), Instant::now());
        for ((ifindex, family), uplink) in pinged {
            if let Err(error) = self.open(uplink, ifindex, family) {
                self.report(ProbeReport::Error { uplink, error });
            }
        }
        for (uplink, error) in self.services.set_devices(&asked) {
            self.report(ProbeReport::Error { uplink, error });
        }
    }

    fn open(&mut self, uplink: u8, ifindex: u32, family: Family) -> Result<(), ProbeError> {
        if !self.sockets.contains_key(&(ifindex, family)) {
            let socket = EchoSocket::open(ifindex, family, self.ident)?;
            self.sockets.insert((ifindex, family), (uplink, socket));
        }
        Ok(())
    }

    /// Waits until this time, and then until a socket has something to read. While services are asked, not
    /// until this time: their exchanges have several steps, each of which waits for the one before.
    async fn readable_from(&self, at: Instant) {
        if self.services.is_idle() {
            sleep_until(Some(at)).await;
        }
        poll_fn(|context| {
            // Every socket must be asked, or its readiness would wake nobody.
            let ready = self
                .sockets
                .values()
                .filter(|(_, socket)| socket.poll_readable(context).is_ready())
                .count();
            let answered = self.services.poll_readable(context);
            if ready > 0 || answered {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Reads what came in on all sockets.
    fn drain(&mut self, ask_kernel: bool) {
        let mut failed = Vec::new();
        for (&key, (uplink, socket)) in &self.sockets {
            for _ in 0..REPLIES_AT_ONCE {
                let reply = if ask_kernel {
                    socket.try_recv_now()
                } else {
                    socket.try_recv()
                };
                match reply {
                    Ok(Some(EchoReply {
                        from,
                        seq,
                        cookie,
                        received,
                        ..
                    })) => {
                        self.schedule.reply(*uplink, from, seq, cookie, received);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed.push((key, *uplink, error));
                        break;
                    }
                }
            }
        }
        for (key, uplink, error) in failed {
            self.sockets.remove(&key);
            self.report(ProbeReport::Error { uplink, error });
        }
    }

    /// Goes on with all exchanges, and tells the schedule of those that are over.
    fn go_on(&mut self, now: Instant, ask_kernel: bool) {
        let mut errors = Vec::new();
        let round = self.services.go_on(now, ask_kernel, &mut errors);
        for (Probe { id, seq, .. }, delay) in round.own_delays {
            self.schedule.delayed(id, seq, delay);
        }
        for Ended {
            probe: Probe { id, seq, cookie },
            result,
            received,
        } in round.ended
        {
            match result {
                Ok(rtt) => {
                    self.schedule.answered(id, seq, cookie, received, rtt);
                }
                Err(failure) => self.schedule.failed(id, seq, failure, received),
            }
        }
        for (uplink, error) in errors {
            self.report(ProbeReport::Error { uplink, error });
        }
    }

    fn carry_out(&mut self, now: Instant) {
        for action in self.schedule.poll(now) {
            match action {
                ProbeAction::Send { id, seq, cookie } => self.send(id, seq, cookie),
                ProbeAction::Outcome(event) => self.report(ProbeReport::Event(event)),
                ProbeAction::Overdue(id) => self.report(ProbeReport::Overdue(id)),
            }
        }
    }

    fn send(&mut self, id: TargetId, seq: u16, cookie: u64) {
        let Some(Way { road, service }) = self.targets.get(&id) else {
            return;
        };
        let (road, service) = (*road, service.clone());
        let before = Instant::now();
        let sent = match service {
            None => self.ping(id, seq, cookie, road),
            Some(service) => {
                let probe = Probe { id, seq, cookie };
                let random = self.random.random();
                self.services.begin(probe, &service, road, random, before)
            }
        };
        match sent {
            Ok(()) => {
                // Whatever held up this thread since the poll is no delay of the network's. The
                // reply of a near target may come in before the call returns.
                let after = Instant::now();
                let held_up = after.duration_since(before) > HELD_UP;
                self.schedule
                    .sent_at(id, seq, if held_up { after } else { before });
                self.report(ProbeReport::Sent(id));
            }
            Err(error) => {
                if error.is_local_congestion() {
                    self.schedule.unsent(id, seq);
                }
                if error.is_device_gone() {
                    self.sockets.remove(&(road.ifindex, Family::of(id.target)));
                    self.services.forget(road.ifindex, Family::of(id.target));
                }
                self.report(ProbeReport::Error {
                    uplink: id.uplink,
                    error,
                });
            }
        }
    }

    /// Sends an echo request.
    fn ping(&mut self, id: TargetId, seq: u16, cookie: u64, road: Road) -> Result<(), ProbeError> {
        let key = (road.ifindex, Family::of(id.target));
        self.open(id.uplink, key.0, key.1)?;
        let Some((_, socket)) = self.sockets.get(&key) else {
            return Ok(());
        };
        let request = EchoRequest {
            source: road.source,
            target: id.target,
            seq,
            cookie,
        };
        socket.send(&request, road.next_hop_mac)
    }

    fn report(&mut self, report: ProbeReport) {
        self.reports.push(report);
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
