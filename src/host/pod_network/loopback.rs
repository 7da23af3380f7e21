//! Gives addresses to the loopback interface of the network that this process is in (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// linux/rtnetlink.h and linux/netlink.h: the messages, and how they are to be taken.
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

/// linux/if_addr.h: the attributes of an address, and the flag against duplicate address detection;
/// rtnetlink.h: the scope of addresses that are valid on this machine only.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const RT_SCOPE_HOST: u8 = 254;

/// Gives an address to the loopback interface; one that it has stays.
///
/// # Errors
/// When the kernel refuses, as it does an address of IPv6 where that is switched off.
pub(super) fn add(address: IpAddr) -> io::Result<()> {
    let index = if_nametoindex("lo")?;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let message = new_address(address, index);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut reply = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    acknowledged(reply.get(..length).unwrap_or_default())
}

/// Returns the request: a header, what it is about, and two attributes with the address.
fn new_address(address: IpAddr, interface: u32) -> Vec<u8> {
    let (family, prefix, octets) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AddressFamily::Inet6, 128, v6.octets().to_vec()),
    };
    // The numbers of families are small.
    let family = u8::try_from(family as i32).unwrap_or_default();
    let mut body = vec![family, prefix, IFA_F_NODAD, RT_SCOPE_HOST];
    body.extend(interface.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        // Four bytes for the length and the kind; addresses need nothing to fill up.
        let length = if octets.len() == 4 { 8_u16 } else { 20 };
        body.extend(length.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&octets);
    }
    let length = 16 + u32::try_from(body.len()).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(RTM_NEWADDR.to_ne_bytes());
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    message.extend(flags.to_ne_bytes());
    // The number of the request, and of who asks: the kernel gives one.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Reads the kernel's answer: an error with the number 0 is none.
fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let kind = reply.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
    let error = reply.get(16..20).and_then(|it| it.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::other("the kernel has answered something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says() {
        for (address, length) in [("169.254.1.2", 40), ("fd7a:5b3c:9e21::2", 64)] {
            let message = new_address(address.parse().unwrap(), 1);
            assert_eq!(message.len(), length, "{address}");
            assert_eq!(message[..4], u32::try_from(length).unwrap().to_ne_bytes());
        }
    }

    #[test]
    fn the_kernels_answer_is_read() {
        let reply = |kind: u16, error: i32| {
            let mut reply = vec![0; 20];
            reply[4..6].copy_from_slice(&kind.to_ne_bytes());
            reply[16..].copy_from_slice(&error.to_ne_bytes());
            acknowledged(&reply)
        };
        assert!(reply(NLMSG_ERROR, 0).is_ok());
        assert_eq!(reply(NLMSG_ERROR, -1).unwrap_err().raw_os_error(), Some(1));
        assert!(reply(3, 0).is_err() && acknowledged(b"").is_err());
    }
}
