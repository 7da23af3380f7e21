//! The child: enters the network, and does there what it is asked for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socket,
};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::super::processes::Process;
use super::{CLIENTS, CLIENTS_EACH, DNS, HOST, HOST_SOCKETS, NFT, NO_NFT, loopback};
use crate::model::HOST_ADDRESSES;

/// The port of questions about names.
const DNS_PORT: u16 = 53;

/// Where programs for root are, which an ordinary user's `PATH` does not have.
const ROOTS_PROGRAMS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Runs the child: `PROCESS nft ARGUMENT…`, `PROCESS dns`, `PROCESS host COUNT` or `PROCESS clients`. The process must have no other threads.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match enter_and_do(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ExitCode::from(NO_NFT),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn enter_and_do(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let (Some(process), Some(what)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("this verb is for the program itself"));
    };
    let process = process.to_str().and_then(|text| text.parse().ok());
    let process = process.ok_or_else(|| io::Error::other("that is no process"))?;
    enter(process)
        .map_err(|error| io::Error::other(format!("cannot enter the pod's network: {error}")))?;
    if what == DNS {
        return hand_over(&dns_sockets()?);
    }
    if what == CLIENTS {
        return hand_over(&client_sockets()?);
    }
    if what == HOST {
        let count = arguments.next().and_then(|text| text.to_str()?.parse().ok());
        let count = count.ok_or_else(|| io::Error::other("that is no number"))?;
        return hand_over(&host_sockets(count)?);
    }
    Err(become_nft(arguments.collect()))
}

/// Becomes nft; returns why not.
fn become_nft(arguments: Vec<OsString>) -> io::Error {
    let places = ROOTS_PROGRAMS.iter().map(|place| Path::new(place).join(NFT));
    let mut error = io::ErrorKind::NotFound.into();
    for program in iter::once(NFT.into()).chain(places) {
        error = Command::new(program).args(&arguments).exec();
        if error.kind() != io::ErrorKind::NotFound {
            break;
        }
    }
    error
}

/// Enters a process's user namespace and network, as root there.
fn enter(process: Process) -> io::Result<()> {
    let namespaces = Path::new("/proc").join(process.number.to_string()).join("ns");
    // Both are opened before one is entered: from within, the other might not be seen.
    let user = File::open(namespaces.join("user"))?;
    let network = File::open(namespaces.join("net"))?;
    // Another process may have got its number: of that one nothing is opened any more from here on.
    if !process.runs() {
        return Err(io::Error::other("it is gone"));
    }
    setns(&user, CloneFlags::CLONE_NEWUSER)?;
    setns(&network, CloneFlags::CLONE_NEWNET)?;
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    // Nft wants to be root, and not only to be allowed what root is. The groups of before have no part
    // in this.
    setgroups(&[])?;
    setresgid(group, group, group)?;
    Ok(setresuid(user, user, user)?)
}

/// Opens the sockets: datagrams and connections of IPv4, and those of IPv6 where the pod has that.
fn dns_sockets() -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(address, DNS_PORT);
        match UdpSocket::bind(address) {
            Ok(socket) => sockets.push(Socket::Datagrams(socket)),
            Err(error) if address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable => {
                break;
            }
            Err(error) => return Err(cannot_bind(address, &error)),
        }
        let listener = TcpListener::bind(address).map_err(|error| cannot_bind(address, &error))?;
        sockets.push(Socket::Connections(listener));
    }
    Ok(sockets)
}

/// Opens the sockets at which the pod reaches services of its host: on the loopback, at free ports, over IPv4
/// and, where the pod has it, IPv6. The rules redirect connections to the host's addresses, which are added to
/// the loopback, to these ports. (At the services' own ports they would conflict with a server in the pod that
/// listens on all addresses.)
fn host_sockets(count: usize) -> io::Result<Vec<TcpListener>> {
    let mut has_ipv6 = true;
    for address in HOST_ADDRESSES {
        match loopback::add(address) {
            Ok(()) => {}
            // The pod has no IPv6.
            Err(_) if address.is_ipv6() => has_ipv6 = false,
            Err(error) => {
                let why = format!("cannot give the pod the address {address}: {error}");
                return Err(io::Error::other(why));
            }
        }
    }
    let mut sockets = Vec::new();
    for _ in 0..count.min(HOST_SOCKETS) {
        sockets.extend(host_socket(has_ipv6)?);
    }
    Ok(sockets)
}

/// Opens one of them, at the same port for both.
fn host_socket(has_ipv6: bool) -> io::Result<Vec<TcpListener>> {
    const TRIES: usize = 16;
    let mut taken = io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        if !has_ipv6 {
            return Ok(vec![v4]);
        }
        match TcpListener::bind((Ipv6Addr::LOCALHOST, v4.local_addr()?.port())) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

fn cannot_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot listen on {address} in the pod: {error}"))
}

/// Makes sockets that are not connected: those of IPv4, and as many of IPv6 where the kernel has that.
fn client_sockets() -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for _ in 0..CLIENTS_EACH {
            match socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None) {
                Ok(socket) => sockets.push(socket),
                Err(Errno::EAFNOSUPPORT) if family == AddressFamily::Inet6 => return Ok(sockets),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(sockets)
}

#[derive(Debug)]
enum Socket {
    Datagrams(UdpSocket),
    Connections(TcpListener),
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Datagrams(socket) => socket.as_raw_fd(),
            Self::Connections(listener) => listener.as_raw_fd(),
        }
    }
}

/// Sends the sockets over our standard input, which is a socket too.
fn hand_over(sockets: &[impl AsRawFd]) -> io::Result<()> {
    let sockets: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    // One byte: with none, nothing would come along.
    let (byte, rights) = ([IoSlice::new(&[0])], [ControlMessage::ScmRights(&sockets)]);
    sendmsg::<()>(io::stdin().as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)?;
    Ok(())
}
