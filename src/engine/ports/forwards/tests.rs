use std::fmt::Display;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::super::relay::MAX_CONNECTIONS;
use super::*;
use crate::host::pod_network::ClientSocket;
use crate::host::ports;

/// This host as if it were a pod, with IPv6 or without.
#[derive(Clone, Copy)]
struct Here(bool);

impl Source for Here {
    async fn make(&self) -> Result<Vec<ClientSocket>, impl Display + Send> {
        let socket = || -> io::Result<ClientSocket> {
            let v6 = self.0.then(TcpSocket::new_v6).transpose()?;
            Ok(ClientSocket { v4: TcpSocket::new_v4()?, v6 })
        };
        (0..4).map(|_| socket()).collect::<io::Result<Vec<_>>>()
    }
}

fn forwards(has_ipv6: bool) -> Forwards<Here> {
    Forwards::new("fix".parse().unwrap(), Here(has_ipv6))
}

/// Publishes a port where nobody is.
fn publish(forwards: &Forwards<Here>, port: u16) -> PublishedPort {
    let (host_port, listeners) =
        ports::pick(28_200..=28_900, &|_| false, &[], &mut rand::rng()).unwrap();
    let published = PublishedPort { port: port.try_into().unwrap(), host_port };
    forwards.open(published, listeners).unwrap();
    published
}

/// Repeats what it hears, until nothing more is said.
async fn echo(address: &str) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = connection.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    port
}

async fn asked(published: PublishedPort, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(published.address()).await?;
    client.write_all(question).await?;
    client.shutdown().await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn what_is_said_gets_through_both_ways_and_to_the_end() {
    for (address, has_ipv6) in [("127.0.0.1:0", false), ("127.0.0.1:0", true), ("[::1]:0", true)] {
        let forwards = forwards(has_ipv6);
        let published = publish(&forwards, echo(address).await);
        let question = vec![7; 3 << 20];
        assert!(asked(published, &question).await.unwrap() == question, "{address}");
        // More of them than sockets are made at a time.
        for n in 0..20 {
            assert_eq!(asked(published, &[n]).await.unwrap(), [n]);
        }
    }
}

#[tokio::test]
async fn where_nobody_listens_a_connection_is_reset() {
    let forwards = forwards(true);
    let (port, listeners) =
        ports::pick(28_200..=28_900, &|_| false, &[], &mut rand::rng()).unwrap();
    drop(listeners);
    let published = publish(&forwards, port);
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_is_closed_takes_its_connections_along_and_frees_its_port() {
    let forwards = forwards(false);
    let port = echo("127.0.0.1:0").await;
    let (first, second) = (publish(&forwards, port), publish(&forwards, port));
    let mut connected = Vec::new();
    for published in [first, second] {
        let mut client = TcpStream::connect(published.address()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        connected.push(client);
    }
    assert!(forwards.are(&[second, first]));
    forwards.keep(&[second]).await;
    assert!(ports::is_free(first.host_port) && forwards.are(&[second]));
    assert_eq!(connected[0].read(&mut [0]).await.unwrap_or(0), 0);
    connected[1].write_all(b"y").await.unwrap();
    assert_eq!(connected[1].read(&mut [0]).await.unwrap(), 1);
    forwards.close().await;
    assert!(ports::is_free(second.host_port) && forwards.are(&[]));
    assert!(forwards.lock().stock.upgrade().is_none());
    // For good.
    let late = publish(&forwards, port);
    assert!(ports::is_free(late.host_port));
}

#[tokio::test]
async fn connections_beyond_those_that_may_be_are_closed() {
    let forwards = forwards(false);
    let published = publish(&forwards, echo("127.0.0.1:0").await);
    let connect = async || {
        let mut client = TcpStream::connect(published.address()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        (client.read(&mut [0]).await.ok().filter(|bytes| *bytes == 1), client)
    };
    let mut connected = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let (answer, client) = connect().await;
        assert!(answer.is_some());
        connected.push(client);
    }
    assert_eq!(connect().await.0, None);
    connected.pop();
    // Its end has to get around.
    while connect().await.0.is_none() {
        tokio::task::yield_now().await;
    }
}
