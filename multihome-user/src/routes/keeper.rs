//! The thread that keeps the kernel's routes and rules of ours as they should be, and watches the
//! settings that matter for them.
//!
//! The kernel changes routes under a lock that others may hold for long, such as whoever makes or removes
//! devices; a thread of its own waits for it, and the control loop never does. Orders that come meanwhile
//! are not queued: only the last one counts.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep_until};

use super::{
    desired::Desired,
    plan::{Step, plan},
    turn::{self, Turn},
};
use crate::{
    exit,
    kernel_settings::{self, Device, Finding},
    netlink::{NetlinkError, OwnEvents, OwnTables},
};

/// How long a change by others may go on before it is looked at: a device that is switched off loses many
/// routes, and the control loop may be about to say what to do about it.
const SETTLE: Duration = Duration::from_millis(50);
/// The pause after something was restored: whoever removes it again and again is not raced.
const PAUSE: Duration = Duration::from_secs(1);
/// When what the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the kernel's tables are compared when nothing calls for it.
const AUDIT: Duration = Duration::from_secs(30);
/// How often the kernel's settings are read.
const SETTINGS: Duration = Duration::from_secs(5);

/// What is wanted now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The routes and rules; `None` leaves the kernel's routing alone.
    pub desired: Option<Desired>,
    /// The devices whose settings matter.
    pub devices: Vec<Device>,
    /// Whether IPv4 and IPv6 are in use.
    pub families: [bool; 2],
}

/// How it stands with what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wanted is in force.
    pub in_force: bool,
    /// Routes and rules that had vanished, or been changed by others, and were set again.
    pub restored: u64,
    /// What stands in the way, for people.
    pub problems: Vec<String>,
    /// Settings that are wrong.
    pub settings: Vec<Finding>,
}

#[derive(Clone, Debug)]
enum Order {
    Keep(Arc<Wanted>),
    Leave,
    Remove,
}

/// The thread. Dropped without [`Keeper::leave`] or [`Keeper::remove`], it ends as with the former.
#[derive(Debug)]
pub struct Keeper {
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<Result<usize, NetlinkError>>>,
    report: Arc<Mutex<Report>>,
}

impl Keeper {
    /// Starts to keep what is wanted, in the calling thread's network namespace. What an earlier
    /// controller left becomes what is wanted, or goes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(wanted: Wanted) -> io::Result<Self> {
        let (orders, taken) = watch::channel(Order::Keep(Arc::new(wanted)));
        let report = Arc::<Mutex<Report>>::default();
        let told = Arc::clone(&report);
        let runtime = runtime()?;
        let thread = std::thread::Builder::new()
            .name("routes".into())
            .spawn(move || runtime.block_on(run(taken, &told)))?;
        Ok(Self {
            orders,
            thread: Some(thread),
            report,
        })
    }

    /// Wants something else from now on. Does not wait for it.
    pub fn want(&self, wanted: Wanted) {
        self.orders.send_replace(Order::Keep(Arc::new(wanted)));
    }

    /// How it stands.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Ends, and leaves all as it is.
    pub fn leave(mut self) {
        let _ = self.end(Order::Leave);
    }

    /// Removes all routes and rules of ours, and ends. Returns how many there were.
    ///
    /// # Errors
    /// When the kernel refuses one of the removals; the others are carried out.
    pub fn remove(mut self) -> Result<usize, NetlinkError> {
        self.end(Order::Remove)
    }

    fn end(&mut self, order: Order) -> Result<usize, NetlinkError> {
        self.orders.send_replace(order);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(NetlinkError::Stopped),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.end(Order::Leave);
        }
    }
}

/// Removes what an earlier controller left in this network namespace, unless another gateway in it has
/// the turn. Returns how many routes and rules there were.
///
/// # Errors
/// When the kernel's tables cannot be listed, or it refuses one of the removals; the others are carried
/// out.
pub fn remove_all() -> Result<usize, NetlinkError> {
    let opened = |source| NetlinkError::Open {
        what: "starting a runtime",
        source,
    };
    let Some(_turn) = take_turn()? else {
        return Ok(0);
    };
    runtime().map_err(opened)?.block_on(async {
        let mut tables = OwnTables::open()?;
        remove(&mut tables).await
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn take_turn() -> Result<Option<Turn>, NetlinkError> {
    turn::take().map_err(|source| NetlinkError::Open {
        what: "taking the turn of this network namespace",
        source,
    })
}

/// A report is whole whatever panicked.
fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that the thread does.
async fn run(
    mut orders: watch::Receiver<Order>,
    report: &Mutex<Report>,
) -> Result<usize, NetlinkError> {
    let mut kept = match open() {
        Ok(kept) => Some(kept),
        Err(error) => {
            tracing::error!(
                "the gateway's own routes are not kept: {}",
                exit::chain(&error)
            );
            lock(report).problems = vec![exit::chain(&error)];
            None
        }
    };
    let mut settings_at = Instant::now();
    let mut settings = Settings::default();
    loop {
        let order = orders.borrow_and_update().clone();
        let wanted = match order {
            Order::Keep(wanted) => wanted,
            Order::Leave => return Ok(0),
            Order::Remove => {
                return match kept {
                    Some(Kept {
                        turn: Some(_turn),
                        mut tables,
                        ..
                    }) => remove(&mut tables).await,
                    // What there is, is another's.
                    Some(Kept { turn: None, .. }) | None => Ok(0),
                };
            }
        };
        if let Some(kept) = &mut kept {
            kept.apply(&wanted, report).await;
        }
        // The same is wanted until the next order.
        loop {
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return Ok(0);
                    }
                    break;
                }
                () = something_to_look_at(&mut kept, &wanted) => {
                    if let Some(kept) = &mut kept {
                        kept.look_again(&wanted, report).await;
                    }
                }
                () = sleep_until(settings_at.into()) => {
                    lock(report).settings = settings.look(&wanted);
                    settings_at = Instant::now() + SETTINGS;
                }
            }
        }
    }
}

fn open() -> Result<Kept, NetlinkError> {
    let turn = take_turn()?;
    Ok(Kept {
        turn,
        events: OwnEvents::open()?,
        tables: OwnTables::open()?,
        audit_at: Instant::now(),
        look_at: None,
        restored_at: None,
        complaint: Vec::new(),
        failed_before: false,
        removed: false,
    })
}

/// Waits until there is something to look at. Cancel-safe.
async fn something_to_look_at(kept: &mut Option<Kept>, wanted: &Wanted) {
    let Some(kept) = kept.as_mut().filter(|kept| kept.is_at_work(wanted)) else {
        return std::future::pending().await;
    };
    loop {
        let due = kept
            .look_at
            .map_or(kept.audit_at, |at| at.min(kept.audit_at));
        tokio::select! {
            changed = kept.events.changed() => {
                if let Err(error) = changed {
                    // Listing goes on to tell the truth, only later.
                    tracing::error!("{}", exit::chain(&error));
                    tokio::time::sleep(RETRY).await;
                }
                kept.look_at.get_or_insert_with(|| {
                    let again = kept.restored_at.map_or(Duration::ZERO, |at| {
                        PAUSE.saturating_sub(at.elapsed())
                    });
                    Instant::now() + SETTLE.max(again)
                });
            }
            () = sleep_until(due.into()) => return,
        }
    }
}

/// What the routes are kept with.
struct Kept {
    /// `None` while another gateway of this network namespace has it.
    turn: Option<Turn>,
    events: OwnEvents,
    tables: OwnTables,
    audit_at: Instant,
    look_at: Option<Instant>,
    restored_at: Option<Instant>,
    /// What was last complained of.
    complaint: Vec<String>,
    /// The last attempt did not succeed.
    failed_before: bool,
    /// Nothing is wanted, and nothing is left.
    removed: bool,
}

impl Kept {
    fn is_at_work(&self, wanted: &Wanted) -> bool {
        self.turn.is_some() && (wanted.desired.is_some() || !self.removed)
    }

    /// Brings about what is wanted.
    async fn apply(&mut self, wanted: &Wanted, report: &Mutex<Report>) {
        if self.turn.is_none() {
            if wanted.desired.is_some() {
                self.complain(
                    vec![
                        "another gateway in this network namespace leads its own traffic; this one leaves \
                         that alone, as with --manage-routes=false"
                            .to_owned(),
                    ],
                    false,
                    report,
                );
            }
            return;
        }
        self.bring_about(wanted, report).await;
    }

    /// Looks whether all is as wanted, and sets right what is not.
    async fn look_again(&mut self, wanted: &Wanted, report: &Mutex<Report>) {
        let failed_before = self.failed_before;
        let set_right = self.bring_about(wanted, report).await;
        if set_right > 0 && !failed_before {
            self.restored_at = Some(Instant::now());
            lock(report).restored += set_right;
        }
    }

    /// Returns how much there was to do, if it was done.
    async fn bring_about(&mut self, wanted: &Wanted, report: &Mutex<Report>) -> u64 {
        let now = Instant::now();
        self.look_at = None;
        self.audit_at = now + AUDIT;
        let nothing = Desired::default();
        let desired = wanted.desired.as_ref().unwrap_or(&nothing);
        let mut work = match carry_out(&mut self.tables, desired).await {
            Ok(work) => work,
            Err(error) => Work {
                failures: vec![exit::chain(&error)],
                ..Work::default()
            },
        };
        let failed = !work.failures.is_empty();
        if failed {
            self.look_at = Some(now + RETRY);
        }
        let mut problems = work.failures;
        if wanted.desired.is_some() {
            problems.append(&mut work.strangers);
        }
        // What fails once may only be ahead of what the control loop is about to say.
        let loud = !failed || self.failed_before;
        self.failed_before = failed;
        self.removed = wanted.desired.is_none() && !failed;
        lock(report).in_force = !failed;
        if loud {
            self.complain(problems, failed, report);
        }
        if failed { 0 } else { work.steps }
    }

    fn complain(&mut self, problems: Vec<String>, failed: bool, report: &Mutex<Report>) {
        for problem in &problems {
            if !self.complaint.contains(problem) {
                if failed {
                    tracing::error!("the gateway's own routes: {problem}; will be tried again");
                } else {
                    tracing::warn!("the gateway's own routes: {problem}");
                }
            }
        }
        if problems.is_empty() && !self.complaint.is_empty() {
            tracing::info!("the gateway's own routes are as they should be again");
        }
        lock(report).problems.clone_from(&problems);
        self.complaint = problems;
    }
}

/// What there was to do.
#[derive(Default)]
struct Work {
    steps: u64,
    /// What did not succeed, for people.
    failures: Vec<String>,
    /// What others have put among ours, for people.
    strangers: Vec<String>,
}

async fn carry_out(tables: &mut OwnTables, desired: &Desired) -> Result<Work, NetlinkError> {
    let listing = tables.list().await?;
    let mut failures = BTreeSet::new();
    let steps = plan(desired, &listing);
    for step in &steps {
        if let Err(error) = tables.carry_out(step).await {
            failures.insert(exit::chain(&error));
        }
    }
    Ok(Work {
        steps: steps.len() as u64,
        failures: failures.into_iter().collect(),
        strangers: listing.strangers,
    })
}

async fn remove(tables: &mut OwnTables) -> Result<usize, NetlinkError> {
    let listing = tables.list().await?;
    let mut refused = None;
    for step in plan(&Desired::default(), &listing) {
        debug_assert!(matches!(step, Step::RemoveRule(_) | Step::RemoveRoute(_)));
        if let Err(error) = tables.carry_out(&step).await {
            refused = Some(error);
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(listing.len()),
    }
}

/// The settings that were wrong when they were last read.
#[derive(Default)]
struct Settings {
    found: Vec<Finding>,
}

impl Settings {
    /// Reads them, and says what has changed.
    fn look(&mut self, wanted: &Wanted) -> Vec<Finding> {
        let found = kernel_settings::check(&wanted.devices, wanted.families, kernel_settings::read);
        for finding in found.iter().filter(|it| !self.found.contains(it)) {
            tracing::warn!("kernel setting {finding}");
        }
        for Finding { setting, .. } in self.found.iter().filter(|it| !found.contains(it)) {
            tracing::info!("kernel setting {setting} is no longer wrong");
        }
        self.found.clone_from(&found);
        found
    }
}
