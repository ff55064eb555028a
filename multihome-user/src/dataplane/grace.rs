//! Waiting until no program can still be reading what is no longer in force: RCU grace periods,
//! since an XDP program runs inside an RCU read-side section.
//!
//! A grace period takes the kernel milliseconds. A thread of its own waits for it as soon as
//! something is out of force, so that whoever wants to write there later seldom has to wait; and who
//! writes elsewhere never does.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::DataplaneError;

/// `MEMBARRIER_CMD_GLOBAL` of linux/membarrier.h: returns after a grace period (membarrier(2)).
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
/// `BPF_MAP_CREATE` of linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
/// `BPF_MAP_UPDATE_ELEM` of linux/bpf.h.
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
/// `BPF_MAP_TYPE_ARRAY` of linux/bpf.h.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS` of linux/bpf.h.
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
/// Far longer than any program runs, when the kernel offers nothing to wait by.
const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// What there are two copies of, one of them in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Copied {
    /// The rank rows of a group.
    Rows(usize),
    /// The entry of an uplink.
    Uplink(u8),
    /// The address classes of a family.
    Addresses(usize),
    /// The rulebook.
    Rules,
}

/// Waits for grace periods.
#[derive(Debug)]
pub(super) struct Grace {
    begin: mpsc::Sender<u64>,
    over: mpsc::Receiver<u64>,
    begun: u64,
    waited_for: u64,
    /// The period before whose end the copies that are not in force may not be written.
    until: BTreeMap<Copied, u64>,
    /// The same for all others.
    until_first: u64,
}

impl Grace {
    /// # Errors
    /// When no thread can be started.
    pub fn new() -> Result<Self, DataplaneError> {
        let (begin, begun) = mpsc::channel();
        let (tell, over) = mpsc::channel();
        let work = move || {
            let mut way = Way::Membarrier;
            while let Ok(number) = begun.recv() {
                // Those that wait meanwhile began before this period, and end with it.
                let number = begun.try_iter().last().unwrap_or(number);
                way = wait(way, Way::wait);
                if tell.send(number).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("grace".to_owned())
            .spawn(work)
            .map_err(DataplaneError::Thread)?;
        Ok(Self {
            begin,
            over,
            begun: 0,
            waited_for: 0,
            until: BTreeMap::new(),
            until_first: 0,
        })
    }

    /// Any copy may have been in force until now. Returns at once.
    pub fn begin_all(&mut self) {
        self.until.clear();
        self.until_first = self.begin_period();
    }

    /// The other copy was in force until now. Returns at once.
    pub fn begin(&mut self, of: Copied) {
        let period = self.begin_period();
        self.until.insert(of, period);
    }

    fn begin_period(&mut self) -> u64 {
        self.begun += 1;
        // Without the thread, `end` waits itself.
        let _ = self.begin.send(self.begun);
        self.begun
    }

    /// Returns when no program can be reading the copy that is not in force.
    pub fn end(&mut self, of: Copied) {
        let until = *self.until.get(&of).unwrap_or(&self.until_first);
        self.waited_for = self.over.try_iter().last().unwrap_or(self.waited_for);
        while self.waited_for < until {
            match self.over.recv() {
                Ok(number) => self.waited_for = number,
                Err(mpsc::RecvError) => {
                    wait(Way::Membarrier, Way::wait);
                    self.waited_for = self.begun;
                }
            }
        }
    }
}

/// A way to wait for a grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// membarrier(2), which kernels with `nohz_full` refuse.
    Membarrier,
    /// Replacing an inner map: the kernel returns when no program can be using the old one
    /// (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
    InnerMap,
    /// Sleeping.
    Sleep,
}

impl Way {
    fn wait(self) -> io::Result<()> {
        match self {
            Self::Membarrier => membarrier(),
            Self::InnerMap => replace_inner_map(),
            Self::Sleep => {
                thread::sleep(LONG_ENOUGH);
                Ok(())
            }
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Membarrier => Self::InnerMap,
            Self::InnerMap | Self::Sleep => Self::Sleep,
        }
    }
}

/// Waits in this way or, if the kernel refuses it, in another; returns the one that did it.
fn wait(mut way: Way, by: impl Fn(Way) -> io::Result<()>) -> Way {
    while let Err(error) = by(way) {
        let next = way.next();
        match next {
            Way::Membarrier | Way::InnerMap => {
                tracing::info!("the kernel refuses {way:?} ({error}); waiting by {next:?}");
            }
            Way::Sleep => tracing::warn!(
                "the kernel offers no way to wait for running programs ({error}): before a table \
                 is written anew, {LONG_ENOUGH:?} pass instead"
            ),
        }
        way = next;
    }
    way
}

fn membarrier() -> io::Result<()> {
    // SAFETY: the call takes no memory.
    match unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes an array of maps and puts a map into it.
fn replace_inner_map() -> io::Result<()> {
    /// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    #[derive(Default)]
    struct Create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
    }
    /// The same for `BPF_MAP_UPDATE_ELEM`.
    #[repr(C)]
    struct Update {
        map_fd: u32,
        _padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let create = |map_type, inner_map_fd| {
        let attr = Create {
            map_type,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            inner_map_fd,
            ..Create::default()
        };
        // SAFETY: the kernel reads the attribute, which outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_CREATE,
                &raw const attr,
                size_of::<Create>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    let inner = create(BPF_MAP_TYPE_ARRAY, 0)?;
    let outer = create(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd() as u32)?;
    let (key, value) = (0u32, inner.as_raw_fd() as u32);
    let attr = Update {
        map_fd: outer.as_raw_fd() as u32,
        _padding: 0,
        key: &raw const key as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the attribute and the four bytes each that it points to, all of
    // which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_UPDATE_ELEM,
            &raw const attr,
            size_of::<Update>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// With `nohz_full` the kernel refuses `MEMBARRIER_CMD_GLOBAL` with EINVAL.
    #[test]
    fn a_refused_membarrier_is_made_up_for_and_not_asked_again() {
        let asked = RefCell::new(Vec::new());
        let kernel = |way| {
            asked.borrow_mut().push(way);
            match way {
                Way::Membarrier => Err(io::Error::from_raw_os_error(libc::EINVAL)),
                Way::InnerMap | Way::Sleep => Ok(()),
            }
        };
        let way = wait(Way::Membarrier, kernel);
        assert_eq!(wait(way, kernel), Way::InnerMap);
        assert_eq!(
            asked.take(),
            [Way::Membarrier, Way::InnerMap, Way::InnerMap]
        );
    }

    #[test]
    fn a_kernel_without_maps_in_maps_is_slept_for() {
        let kernel = |way| match way {
            Way::Sleep => Ok(()),
            Way::Membarrier | Way::InnerMap => Err(io::Error::from_raw_os_error(libc::EPERM)),
        };
        assert_eq!(wait(Way::Membarrier, kernel), Way::Sleep);
    }

    #[test]
    fn a_grace_period_that_was_begun_ends() {
        let mut grace = Grace::new().unwrap();
        grace.end(Copied::Uplink(1));
        for _ in 0..3 {
            grace.begin(Copied::Uplink(2));
            grace.begin(Copied::Uplink(1));
            grace.end(Copied::Uplink(1));
            assert_eq!(grace.waited_for, grace.begun);
        }
        grace.begin_all();
        grace.end(Copied::Rows(0));
        assert_eq!(grace.waited_for, grace.begun);
    }

    #[test]
    fn nobody_waits_for_what_is_not_his() {
        let mut grace = Grace::new().unwrap();
        // Ended by hand, so that a period lasts for as long as the test wants.
        let (over, told) = mpsc::channel();
        grace.over = told;
        grace.begin(Copied::Uplink(1));
        grace.end(Copied::Uplink(2));
        grace.end(Copied::Rows(1));
        assert_eq!(grace.waited_for, 0);
        over.send(1).unwrap();
        grace.end(Copied::Uplink(1));
        assert_eq!(grace.waited_for, 1);
    }
}
