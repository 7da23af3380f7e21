//! Answers datagrams.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::UdpSocket;
use tracing::debug;

use super::filter::Transport;
use super::rules::{Rules, Warden};
use super::server::Clerk;
use super::upstream::Upstream;

/// How large a query may be: a name has 255 bytes at most, and what EDNS says is short.
const MAX_QUERY: usize = 2048;

/// How many queries are answered at a time; those beyond wait in the socket, or are lost.
const MAX_PENDING: usize = 512;

/// How long nothing is received after an error.
const PAUSE: Duration = Duration::from_millis(50);

/// Has tokio take a socket over.
pub(super) fn adopt(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Answers what comes on a socket.
pub(super) async fn serve<R: Rules, W: Warden<R::Scope>, U: Upstream>(
    socket: &UdpSocket,
    clerk: &Clerk<R, W, U>,
) {
    let mut pending = FuturesUnordered::new();
    let mut buffer = [0; MAX_QUERY];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer), if pending.len() < MAX_PENDING => {
                match received {
                    Ok((size, client)) => {
                        let message = buffer[..size].to_vec();
                        pending.push(async move {
                            let reply = clerk.answer(&message, Transport::Udp).await;
                            if let Some(reply) = reply
                                && let Err(error) = socket.send_to(&reply, client).await
                            {
                                debug!(%error, "could not send a reply");
                            }
                        });
                    }
                    Err(error) => {
                        debug!(%error, "could not receive a query");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            Some(()) = pending.next() => {}
        }
    }
}
