//! The client's end of an exec session.

use std::error::Error;
use std::io;

use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::{ClientError, Result};
use crate::frames::{self, Frame, FrameReader};
use crate::uds::UdsError;

type Connection = TokioIo<Upgraded>;

/// What the command writes.
#[derive(Debug)]
pub struct ExecReader {
    call: String,
    frames: FrameReader<ReadHalf<Connection>>,
}

/// What the command reads, and the size of its terminal.
#[derive(Debug)]
pub struct ExecWriter(WriteHalf<Connection>);

/// Takes over the connection of an upgraded exchange.
pub(super) async fn open(
    call: String,
    response: Response<Incoming>,
) -> Result<(ExecReader, ExecWriter)> {
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded =
        upgraded.map_err(|error| UdsError::Cut { request: call.clone(), source: error.into() })?;
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    Ok((ExecReader { call, frames: FrameReader::new(read) }, ExecWriter(write)))
}

impl ExecReader {
    /// Returns the next frame from the service. Cancel-safe.
    ///
    /// # Errors
    /// When the session fails, or ends without the command's exit status.
    pub async fn next(&mut self) -> Result<Frame> {
        match self.frames.next().await {
            Ok(Some(Frame::Problem(json))) => {
                Err(super::refused(&self.call, hyper::StatusCode::INTERNAL_SERVER_ERROR, &json))
            }
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(self.cut("the session ended before the command")),
            Err(error) => Err(self.cut(error)),
        }
    }

    fn cut(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> ClientError {
        ClientError::Broken(UdsError::Cut { request: self.call.clone(), source: source.into() })
    }
}

impl ExecWriter {
    /// Passes input on to the command.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn input(&mut self, bytes: Bytes) -> io::Result<()> {
        for part in frames::chunks(bytes) {
            self.0.write_all(&Frame::Input(part).encode()).await?;
        }
        Ok(())
    }

    /// Tells the command that there is no more input.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn end_of_input(&mut self) -> io::Result<()> {
        self.0.write_all(&Frame::Input(Bytes::new()).encode()).await
    }

    /// Tells the size of the caller's terminal.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.0.write_all(&Frame::Resize { columns, rows }.encode()).await
    }
}
