//! A thread that must not be late.

/// Gives the calling thread what it is allowed: real-time round robin, else the best nice value, else nothing. In words.
pub(crate) fn raise() -> &'static str {
    if round_robin() {
        return "real-time priority";
    }
    match rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20) {
        Ok(()) => "nice value -20",
        Err(_) => "no priority: give CAP_SYS_NICE, or choose longer intervals on a busy node",
    }
}

/// Needs CAP_SYS_NICE, and a share of real-time in the cgroup where the kernel divides it (CONFIG_RT_GROUP_SCHED).
#[allow(unsafe_code)]
fn round_robin() -> bool {
    /// Above all normal threads, below the kernel's own.
    const PRIORITY: libc::c_int = 10;
    // SAFETY: `sched_param` is plain integers, for which zero is a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = PRIORITY;
    // SAFETY: 0 is the calling thread; the kernel only reads the parameters, and not beyond the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) == 0 }
}
