//! The parent: starts the child, and takes what comes of it.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::time::timeout;

use super::super::processes::Process;
use super::{CLIENTS, CLIENTS_EACH, DNS, HOST, HOST_SOCKETS, NFT, NO_NFT, VERB};

/// How long nft, or the opening of sockets, may take: both take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of a table of connections are read at most: what runs inside decides how many there are.
const MOST_OF_TABLE: u64 = 4 << 20;

/// As many sockets as the child sends at most.
const SOCKETS: usize = 2 * CLIENTS_EACH;

/// The network of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// A process in it, the first one of the pod's infra container.
    process: Process,
}

/// Sockets in a pod at which it asks for names.
#[derive(Debug, Default)]
pub struct DnsSockets {
    /// Those for datagrams.
    pub datagrams: Vec<UdpSocket>,
    /// Those for connections.
    pub connections: Vec<TcpListener>,
}

/// Sockets with which to connect once to a server in a pod.
#[derive(Debug)]
pub struct ClientSocket {
    /// For a server that listens on IPv4.
    pub v4: TcpSocket,
    /// For one that listens on IPv6, where the pod has that.
    pub v6: Option<TcpSocket>,
}

/// A socket in a pod, at which it reaches a service of its host.
#[derive(Debug)]
pub struct HostSocket {
    /// The port at which it listens, on the pod's loopback.
    pub port: u16,
    /// What listens there: on IPv4, and on IPv6 where the pod has that.
    pub listeners: Vec<TcpListener>,
}

/// Why something could not be done in a pod's network.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// There is no nft.
    #[error("there is no program nft")]
    NoNft,
    /// The child could not be run.
    #[error("cannot work in the pod's network: {0}")]
    NotRun(#[from] io::Error),
    /// The child has failed.
    #[error("{0}")]
    Failed(String),
    /// The child was too slow.
    #[error("working in the pod's network took longer than {} s", PATIENCE.as_secs())]
    TooSlow,
}

impl PodNetworkError {
    /// Returns what to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoNft => Some("install nftables: it enforces what a taskspace may reach"),
            Self::NotRun(_) | Self::Failed(_) | Self::TooSlow => None,
        }
    }
}

impl PodNetwork {
    /// Returns the network that a process is in.
    pub const fn of(process: Process) -> Self {
        Self { process }
    }

    /// Has nft do in one transaction what a text says, all of it or nothing (nft(8), `-f`).
    ///
    /// # Errors
    /// When there is no nft, or it refuses.
    pub async fn load(&self, rules: &str) -> Result<(), PodNetworkError> {
        self.nft(&["-f", "-"], rules).await.map(drop)
    }

    /// Returns what is in a table, as nft writes it in JSON (libnftables-json(5)).
    ///
    /// # Errors
    /// When there is no nft, or no such table.
    pub async fn table(&self, name: &str) -> Result<String, PodNetworkError> {
        self.nft(&["-j", "list", "table", "inet", name], "").await
    }

    /// Returns how many packets have gone through all interfaces (proc_pid_net(5), `dev`).
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn packets(&self) -> io::Result<u64> {
        let text =
            tokio::fs::read_to_string(format!("/proc/{}/net/dev", self.process.number)).await?;
        packets(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns where TCP connections lead to that are established (proc_pid_net(5), `tcp` and `tcp6`).
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn connected(&self) -> io::Result<Vec<SocketAddr>> {
        let mut connected = Vec::new();
        for table in ["tcp", "tcp6"] {
            let path = format!("/proc/{}/net/{table}", self.process.number);
            let file = match tokio::fs::File::open(path).await {
                Ok(file) => file,
                // A kernel without IPv6.
                Err(error) if table == "tcp6" && error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let mut text = String::new();
            file.take(MOST_OF_TABLE).read_to_string(&mut text).await?;
            connected.extend(text.lines().filter_map(established));
        }
        Ok(connected)
    }

    async fn nft(&self, arguments: &[&str], input: &str) -> Result<String, PodNetworkError> {
        let mut command = self.command(&[NFT]);
        command.args(arguments).stdin(Stdio::piped());
        let run = async {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that ends without having read all says why.
                let _unread = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = timeout(PATIENCE, run).await.map_err(|_| PodNetworkError::TooSlow)??;
        succeeded(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Opens the sockets at which the pod asks for names: port 53 of its own loopback.
    ///
    /// # Errors
    /// When somebody in the pod has the port.
    pub async fn dns_sockets(&self) -> Result<DnsSockets, PodNetworkError> {
        Ok(DnsSockets::sort(self.sockets(&[DNS]).await?)?)
    }

    /// Makes sockets that connect to servers in the pod, some at a time.
    ///
    /// # Errors
    /// When there is no such network.
    pub async fn client_sockets(&self) -> Result<Vec<ClientSocket>, PodNetworkError> {
        Ok(ClientSocket::pair(self.sockets(&[CLIENTS]).await?)?)
    }

    /// Opens sockets at which the pod reaches services of its host.
    ///
    /// # Errors
    /// When there is no such network.
    pub async fn host_sockets(&self, count: usize) -> Result<Vec<HostSocket>, PodNetworkError> {
        let mut opened = Vec::new();
        while opened.len() < count {
            let some = HOST_SOCKETS.min(count - opened.len()).to_string();
            let sockets = HostSocket::join(self.sockets(&[HOST, &some]).await?)?;
            if sockets.is_empty() {
                return Err(PodNetworkError::Failed("the child has opened no socket".to_owned()));
            }
            opened.extend(sockets);
        }
        Ok(opened)
    }

    /// Has the child make sockets.
    async fn sockets(&self, arguments: &[&str]) -> Result<Vec<OwnedFd>, PodNetworkError> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = self.command(arguments);
        command.stdin(OwnedFd::from(theirs));
        let output = timeout(PATIENCE, command.output());
        let output = output.await.map_err(|_| PodNetworkError::TooSlow)??;
        // Its end of the socket is closed with it, so nothing is waited for.
        drop(command);
        succeeded(&output)?;
        Ok(receive(&ours)?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(VERB).arg(self.process.to_string()).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A key press that ends the foreground process must not end this before its time.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

impl DnsSockets {
    fn sort(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let mut sorted = Self::default();
        for socket in sockets {
            if getsockopt(&socket, sockopt::SockType)? == SockType::Datagram {
                sorted.datagrams.push(socket.into());
            } else {
                sorted.connections.push(socket.into());
            }
        }
        Ok(sorted)
    }
}

/// Adds up, for all interfaces, the second number after the name, how many packets came in, and the tenth,
/// how many went out.
fn packets(text: &str) -> Option<u64> {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    let numbers = interfaces.map(|(_, numbers)| {
        let mut numbers = numbers.split_whitespace();
        let received: u64 = numbers.nth(1)?.parse().ok()?;
        let sent: u64 = numbers.nth(7)?.parse().ok()?;
        Some(received + sent)
    });
    numbers.sum()
}

/// Reads a line of a table of connections: its number, the address and port here and there, and the state.
/// An address is four bytes at a time, each four as a number of this machine.
fn established(line: &str) -> Option<SocketAddr> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_whitespace();
    let (address, port) = fields.nth(2)?.split_once(':')?;
    fields.next().filter(|state| *state == ESTABLISHED)?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        let word = u32::from_str_radix(word, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

impl ClientSocket {
    fn pair(sockets: Vec<OwnedFd>) -> io::Result<Vec<Self>> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for socket in sockets.into_iter().map(TcpStream::from) {
            let of_family = if socket.local_addr()?.is_ipv6() { &mut v6 } else { &mut v4 };
            of_family.push(TcpSocket::from_std_stream(socket));
        }
        Ok(v4.into_iter().map(|v4| Self { v4, v6: v6.pop() }).collect())
    }
}

impl HostSocket {
    /// Puts those together that listen at the same port; they come one after the other.
    fn join(sockets: Vec<OwnedFd>) -> io::Result<Vec<Self>> {
        let mut joined: Vec<Self> = Vec::new();
        for listener in sockets.into_iter().map(TcpListener::from) {
            let port = listener.local_addr()?.port();
            match joined.last_mut() {
                Some(last) if last.port == port => last.listeners.push(listener),
                _ => joined.push(Self { port, listeners: vec![listener] }),
            }
        }
        Ok(joined)
    }
}

fn succeeded(output: &Output) -> Result<(), PodNetworkError> {
    if output.status.success() {
        return Ok(());
    }
    if output.status.code() == Some(NO_NFT.into()) {
        return Err(PodNetworkError::NoNft);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PodNetworkError::Failed(match said.is_empty() {
        true => format!("the child in the pod's network ended: {}", output.status),
        false => said,
    }))
}

/// Receives what the child has sent before it ended.
fn receive(from: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut space = cmsg_space!([RawFd; SOCKETS]);
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut buffer, Some(&mut space), flags)?;
    let mut sockets = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            #[expect(unsafe_code, reason = "the kernel hands over descriptors as numbers")]
            // SAFETY: the kernel has just opened these for us, and nobody else knows them.
            sockets.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_all_interfaces_count() {
        let text = "Inter-|   Receive         |  Transmit\n face |bytes    packets errs\n\
            eth0:     900       7    0    0    0    0    0    0    500    3    0    0    0    0    0    0\n\
                lo:    1200      15    0    0    0    0    0    0   1200   15    0    0    0    0    0    0\n";
        assert_eq!(packets(text), Some(40));
        assert_eq!(packets("eth0: 1 2"), None);
    }

    #[test]
    fn established_connections_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when";
        assert_eq!(established(head), None);
        if cfg!(target_endian = "little") {
            let line = |there: &str, state: &str| {
                established(&format!("   0: 0100007F:1F90 {there} {state} 00000000:00000000"))
            };
            let v4: SocketAddr = "198.51.100.7:443".parse().unwrap();
            assert_eq!(line("076433C6:01BB", "01"), Some(v4));
            assert_eq!(line("076433C6:01BB", "02"), None);
            assert_eq!(line("0000000000000000FFFF0000076433C6:01BB", "01"), Some(v4));
            let v6 = "[2001:db8::7]:80".parse().unwrap();
            assert_eq!(line("B80D0120000000000000000007000000:0050", "01"), Some(v6));
            assert_eq!(line("076433:01BB", "01"), None);
        }
    }
}
