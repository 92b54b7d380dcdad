//! The VXLAN link: made, changed in place where the kernel can, else made anew.

use model::kernel::{Device, Refusal, Value, VxlanLink};

use crate::apply::Verdict;
use crate::decode::Link;
use crate::encode::{self, Mode};
use crate::kernel::{ask_link, refusal_of_dump};
use crate::links::{Links, describe};
use crate::message::Batch;
use crate::socket::Socket;
use crate::view::View;
use crate::{dump, ethtool, sysctl};

/// Makes or changes the link.
pub(crate) fn write(
    socket: &mut Socket,
    view: &mut View,
    mode: Mode,
    device: &Device,
    wanted: &std::sync::Arc<VxlanLink>,
) -> Verdict {
    view.wanted_link = Some(std::sync::Arc::clone(wanted));
    let links = dump::links(socket).map_err(|error| refusal_of_dump(&error))?;
    let there = links.by_name(device);
    match (mode, there) {
        (Mode::Create, Some(link)) => {
            Err(Refusal { errno: libc::EEXIST, message: format!("{} is there already", describe(link)) })
        }
        (_, None) if mode != Mode::Create => {
            Err(Refusal { errno: libc::ENOENT, message: format!("link {device} is not in the kernel") })
        }
        (_, Some(link)) if link.vxlan.is_none() => {
            let message = format!("{} is not ours to change; take it away (ip link del {device})", describe(link));
            Err(Refusal { errno: libc::EEXIST, message })
        }
        (_, Some(link)) => replace(socket, view, &links, link, device, wanted),
        (_, None) => create(socket, view, &links, device, wanted),
    }
}

/// Takes the link away if it is of kind VXLAN; what stands on it goes with it.
pub(crate) fn delete(socket: &mut Socket, view: &mut View, device: &Device) -> Verdict {
    view.wanted_link = None;
    let Some(link) = ask_link(socket, device)? else { return Ok(()) };
    if link.vxlan.is_none() {
        let message = format!("{} is not ours to take away", describe(&link));
        return Err(Refusal { errno: libc::EPERM, message });
    }
    view.nexthops_known = false;
    match send(socket, |batch, sequence| encode::delete_link(batch, sequence, link.index)) {
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(()),
        other => other,
    }
}

fn create(socket: &mut Socket, view: &mut View, links: &Links, device: &Device, wanted: &VxlanLink) -> Verdict {
    let underlay = underlay(links, wanted)?;
    view.nexthops_known = false;
    send(socket, |batch, sequence| encode::vxlan(batch, sequence, device, wanted, underlay))
        .map_err(|refusal| explain(refusal, links, device, wanted))?;
    let Some(made) = ask_link(socket, device)? else {
        return Err(Refusal { errno: libc::ENODEV, message: format!("link {device} went away while it was made") });
    };
    settle_sysctls(device);
    let up = settle_offload(device, wanted)
        .and_then(|()| send(socket, |batch, sequence| encode::link_up(batch, sequence, made.index)));
    if let Err(refusal) = up {
        // A link that cannot be set up is none: whoever makes it again finds the name free.
        let _ = send(socket, |batch, sequence| encode::delete_link(batch, sequence, made.index));
        return Err(explain(refusal, links, device, wanted));
    }
    Ok(())
}

/// In place: MTU, MAC, learning, checksum offload, the local address within its family, the underlay device, up. What else differs needs
/// a new link, and what stood on the old one goes with it.
fn replace(
    socket: &mut Socket,
    view: &mut View,
    links: &Links,
    link: &Link,
    device: &Device,
    wanted: &VxlanLink,
) -> Verdict {
    let underlay = underlay(links, wanted)?;
    if changes_in_place(link, wanted) {
        let index = link.index;
        let tunnel = link
            .vxlan
            .as_ref()
            .is_some_and(|found| !found.learning && found.local == Some(wanted.local) && found.lower == Some(underlay));
        let changed = match tunnel {
            true => Ok(()),
            false => send(socket, |batch, sequence| encode::change_vxlan(batch, sequence, index, wanted, underlay)),
        };
        if changed.is_ok() {
            settle_sysctls(device);
            settle_offload(device, wanted)?;
            if !link.is_up() {
                view.nexthops_known = false;
            }
            let mac = (link.mac != Some(wanted.mac)).then_some(&wanted.mac);
            send(socket, |batch, sequence| encode::settle_link(batch, sequence, index, wanted.mtu, mac))
                .map_err(|refusal| explain(refusal, links, device, wanted))?;
            let now = dump::links(socket).map_err(|error| refusal_of_dump(&error))?;
            let value = now.by_name(device).and_then(|link| now.vxlan_value(link));
            if matches!(value, Some(Value::Link(found)) if *found == *wanted) {
                return Ok(());
            }
        }
    }
    if let Some(twin) = links.twin(device, wanted) {
        // The new one would be refused after the old one is gone.
        return Err(taken(twin, libc::EEXIST));
    }
    view.nexthops_known = false;
    send(socket, |batch, sequence| encode::delete_link(batch, sequence, link.index))?;
    create(socket, view, links, device, wanted)
}

fn changes_in_place(link: &Link, wanted: &VxlanLink) -> bool {
    link.vxlan.as_ref().is_some_and(|found| {
        found.vni == wanted.vni.number()
            && found.port == wanted.port
            && !found.external
            && found.remote.is_none()
            && found.local.is_some_and(|local| local.is_ipv4() == wanted.local.is_ipv4())
    })
}

fn underlay(links: &Links, wanted: &VxlanLink) -> Result<u32, Refusal> {
    links.by_name(&wanted.underlay).map(|link| link.index).ok_or_else(|| Refusal {
        errno: libc::ENODEV,
        message: format!("there is no underlay device {}", wanted.underlay),
    })
}

/// Before the link is up. Router advertisements from a pod must not give the node routes (CVE-2020-10749); IPv6 gateways
/// on the link need IPv6 on it, and its link-local address derived from the MAC, usable at once. Best effort: a host
/// without IPv6 has none of these.
fn settle_sysctls(device: &Device) {
    for (name, value) in
        [("accept_ra", "0"), ("accept_dad", "0"), ("autoconf", "0"), ("addr_gen_mode", "0"), ("disable_ipv6", "0")]
    {
        let path = format!("net/ipv6/conf/{device}/{name}");
        let settled = matches!(sysctl::read(&path), Ok(Some(text)) if &*text == value);
        if !settled && let Err(refusal) = sysctl::write(&path, value) {
            tracing::debug!(%path, %refusal, "not set");
        }
    }
}

fn settle_offload(device: &Device, wanted: &VxlanLink) -> Verdict {
    match ethtool::tx_checksum(device) {
        Ok(on) if on == wanted.tx_checksum => Ok(()),
        // A kernel that cannot tell has it on.
        Err(_) if wanted.tx_checksum => Ok(()),
        _ => ethtool::set_tx_checksum(device, wanted.tx_checksum),
    }
}

/// Says who is in the way.
fn explain(refusal: Refusal, links: &Links, device: &Device, wanted: &VxlanLink) -> Refusal {
    match refusal.errno {
        libc::EEXIST => links.twin(device, wanted).map_or(refusal, |twin| taken(twin, libc::EEXIST)),
        libc::EADDRINUSE => match links.on_port(device, wanted.port) {
            Some(other) => taken(other, libc::EADDRINUSE),
            None => Refusal {
                errno: libc::EADDRINUSE,
                message: format!(
                    "UDP port {} is taken by another program; set vxlan.port to a free one on all nodes",
                    wanted.port
                ),
            },
        },
        _ => refusal,
    }
}

fn taken(by: &Link, errno: i32) -> Refusal {
    let message = format!(
        "{} is in the way; take it away (ip link del {}), or set vxlan.vni or vxlan.port to free ones on all nodes",
        describe(by),
        by.device
    );
    Refusal { errno, message }
}

fn send(socket: &mut Socket, encode: impl FnOnce(&mut Batch, u32)) -> Verdict {
    let mut batch = Batch::default();
    let sequence = socket.next_sequence();
    encode(&mut batch, sequence);
    socket.exchange_one(&mut batch)
}
