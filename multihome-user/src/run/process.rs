//! What this process asks of the operating system for itself.

/// Asks the scheduler to run this process before others: reacting late is failing over late.
pub(super) fn favour_this_process() {
    // SAFETY: the call takes no memory. A refusal costs only time under load.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
}

/// Gives what only the start has needed back to the operating system: the kernel's types, the draws of the
/// rank rows. The allocator keeps it otherwise.
pub(super) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call changes free memory alone.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes as many open files as this process may have: each probe of a service under way has a socket of
/// its own, and the usual limit of 1024 is less than many uplinks need that fail at once.
pub(super) fn allow_many_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives both calls. A refusal leaves the limit that there was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
