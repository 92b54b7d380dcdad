#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

use std::thread;

use kernel::sysctl;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};

/// Runs `body` on a thread of its own in a fresh network namespace.
fn in_namespace(body: impl FnOnce() + Send + 'static) {
    let run = move || {
        // SAFETY: the thread was made for this; nothing else relies on its namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "this test must run as root");
        body();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn value(path: &str) -> Option<String> {
    sysctl::read(path).unwrap().map(|text| text.to_string())
}

#[test]
fn values_are_those_of_the_threads_namespace() {
    in_namespace(|| {
        let path = "net/ipv4/ip_forward";
        let first = value(path).unwrap();
        let other = if first == "1" { "0" } else { "1" };
        sysctl::write(path, other).unwrap();
        assert_eq!(value(path).unwrap(), other);
        // Another namespace keeps its own.
        in_namespace(move || {
            let theirs = value(path).unwrap();
            let change = if theirs == "1" { "0" } else { "1" };
            sysctl::write(path, change).unwrap();
            assert_eq!(value(path).unwrap(), change);
            sysctl::write(path, &theirs).unwrap();
        });
        assert_eq!(value(path).unwrap(), other);
    });
}

#[test]
fn several_values_and_a_device_with_a_dot_in_its_name() {
    in_namespace(|| {
        sysctl::write("net/ipv4/ip_local_port_range", "40000 41000").unwrap();
        assert_eq!(value("net/ipv4/ip_local_port_range").unwrap(), "40000\t41000");
        let made = std::process::Command::new("ip").args(["link", "add", "eth0.5", "type", "bridge"]).status();
        assert!(made.unwrap().success());
        sysctl::write("net/ipv4/conf/eth0.5/rp_filter", "2").unwrap();
        assert_eq!(value("net/ipv4/conf/eth0.5/rp_filter").unwrap(), "2");
    });
}

#[test]
fn what_is_not_there_is_none_to_read_and_refused_to_write() {
    in_namespace(|| {
        for (path, words) in
            [("net/ipv4/conf/gone0/rp_filter", "has gone0 gone"), ("net/ipv4/no_such_thing", "kernel does not have it")]
        {
            assert_eq!(value(path), None);
            let refusal = sysctl::write(path, "1").unwrap_err();
            assert_eq!(refusal.errno, libc::ENOENT);
            assert!(refusal.message.contains(path) && refusal.message.contains(words), "{refusal}");
        }
    });
}

#[test]
fn a_value_that_the_kernel_does_not_take_is_named() {
    in_namespace(|| {
        let refusal = sysctl::write("net/ipv4/ip_forward", "perhaps").unwrap_err();
        assert_eq!(refusal.errno, libc::EINVAL);
        assert!(refusal.message.contains("`perhaps`"), "{refusal}");
        // Bound by the kernel to 1..=255.
        assert_eq!(sysctl::write("net/ipv4/ip_default_ttl", "0").unwrap_err().errno, libc::EINVAL);
    });
}

#[test]
fn a_path_that_leaves_proc_sys_is_refused() {
    for path in ["", "/net/ipv4/ip_forward", "net/../../version", "../version"] {
        assert_eq!(sysctl::read(path).unwrap_err().errno, libc::EINVAL, "{path}");
        assert_eq!(sysctl::write(path, "1").unwrap_err().errno, libc::EINVAL, "{path}");
    }
}

#[test]
fn a_read_only_proc_sys_is_named_with_its_cure() {
    in_namespace(|| {
        // SAFETY: as above; the mounts made below are seen by this thread alone.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "this test must run as root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount_bind("/proc/sys", "/proc/sys").unwrap();
        mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        assert!(value("net/ipv4/ip_forward").is_some());
        let refusal = sysctl::write("net/ipv4/ip_forward", "1").unwrap_err();
        assert_eq!(refusal.errno, libc::EROFS);
        assert!(refusal.message.contains("read-only") && refusal.message.contains("privileged"), "{refusal}");
    });
}
