//! Devices of link-local addresses: names outside, the kernel's indexes (scope ids) inside this crate.

use std::net::{SocketAddr, SocketAddrV6};

use model::kernel::Device;
use rustix::net::netdevice;
use socket2::{Domain, Socket, Type};

/// The address behind a device, as the kernel wants it.
pub(crate) fn on_device(address: SocketAddr, device: Option<&Device>) -> Result<SocketAddr, String> {
    let (SocketAddr::V6(v6), Some(device)) = (address, device) else { return Ok(address) };
    let index = index(device).ok_or_else(|| format!("there is no interface {device}"))?;
    Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into())
}

/// The device that a link-local address is on.
pub(crate) fn device_of(address: &SocketAddr) -> Option<Device> {
    let SocketAddr::V6(v6) = address else { return None };
    if v6.scope_id() == 0 {
        return None;
    }
    Device::new(&netdevice::index_to_name(any_socket()?, v6.scope_id()).ok()?)
}

/// The address without the kernel's index.
pub(crate) fn bare(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn index(device: &Device) -> Option<u32> {
    netdevice::name_to_index(any_socket()?, device.as_str()).ok()
}

/// The kernel answers questions about interfaces on any socket of this network namespace.
fn any_socket() -> Option<Socket> {
    Socket::new(Domain::UNIX, Type::DGRAM, None).ok()
}
