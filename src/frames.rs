//! The frames of an exec session, as they go over the connection once it is upgraded.
//!
//! ```text
//! [type u8][0, 0, 0][length u32, big-endian][payload]
//! ```
//!
//! | type | direction | payload |
//! |---|---|---|
//! | 0 | to the service | input; no bytes at all mean its end |
//! | 1 | to the client | the command's standard output |
//! | 2 | to the client | the command's standard error |
//! | 3 | to the client | the exit status, i32 big-endian; the last frame |
//! | 4 | to the service | the terminal's size: columns and rows, u16 big-endian each |
//! | 5 | to the client | a problem document as JSON; the last frame |

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::bytes::{Buf, BufMut, Bytes, BytesMut};

/// The name of this protocol in the `Upgrade` header.
pub const PROTOCOL: &str = "taskspace-exec";

/// The most bytes that one frame carries; a longer one is an attack or a bug.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// Type, three zeros, length.
const HEADER: usize = 8;

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Input for the command; an empty one is its end.
    Input(Bytes),
    /// What the command wrote to its standard output.
    Output(Bytes),
    /// What the command wrote to its standard error.
    ErrorOutput(Bytes),
    /// The command ended with this status.
    Exit(i32),
    /// The caller's terminal has this size.
    Resize {
        /// Its columns.
        columns: u16,
        /// Its rows.
        rows: u16,
    },
    /// The session failed: a problem document as JSON.
    Problem(Bytes),
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A type that the protocol does not have.
    #[error("an exec frame has the unknown type {0}")]
    UnknownType(u8),
    /// A length that the protocol does not allow.
    #[error("an exec frame of type {kind} has the length {length}")]
    BadLength {
        /// The frame's type.
        kind: u8,
        /// The length that it claims.
        length: usize,
    },
    /// The connection ended inside a frame.
    #[error("the exec session ended inside a frame")]
    Truncated,
    /// The connection failed.
    #[error("the exec session's connection failed")]
    Read(#[source] io::Error),
}

impl Frame {
    const fn kind(&self) -> u8 {
        match self {
            Self::Input(_) => 0,
            Self::Output(_) => 1,
            Self::ErrorOutput(_) => 2,
            Self::Exit(_) => 3,
            Self::Resize { .. } => 4,
            Self::Problem(_) => 5,
        }
    }

    /// Returns the bytes that go over the connection.
    ///
    /// A payload longer than [`MAX_PAYLOAD`] is cut there: split what may be longer with
    /// [`chunks`].
    pub fn encode(&self) -> Bytes {
        let payload = match self {
            Self::Input(bytes)
            | Self::Output(bytes)
            | Self::ErrorOutput(bytes)
            | Self::Problem(bytes) => bytes.slice(..bytes.len().min(MAX_PAYLOAD)),
            Self::Exit(status) => Bytes::copy_from_slice(&status.to_be_bytes()),
            Self::Resize { columns, rows } => {
                let mut payload = BytesMut::with_capacity(4);
                payload.put_u16(*columns);
                payload.put_u16(*rows);
                payload.freeze()
            }
        };
        let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
        bytes.put_u8(self.kind());
        bytes.put_bytes(0, 3);
        // The payload is at most MAX_PAYLOAD long, so its length fits.
        bytes.put_u32(payload.len() as u32);
        bytes.put_slice(&payload);
        bytes.freeze()
    }

    /// Takes one frame off the front of `buffer`; `None` when it is not all there yet.
    ///
    /// # Errors
    /// When what is there can never become a frame.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(&[kind, _, _, _, a, b, c, d]) = buffer.get(..HEADER) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let fits = match kind {
            0..=2 | 5 => length <= MAX_PAYLOAD,
            3 | 4 => length == 4,
            unknown => return Err(FrameError::UnknownType(unknown)),
        };
        if !fits {
            return Err(FrameError::BadLength { kind, length });
        }
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        buffer.advance(HEADER);
        let mut payload = buffer.split_to(length).freeze();
        Ok(Some(match kind {
            0 => Self::Input(payload),
            1 => Self::Output(payload),
            2 => Self::ErrorOutput(payload),
            3 => Self::Exit(payload.get_i32()),
            4 => Self::Resize { columns: payload.get_u16(), rows: payload.get_u16() },
            _ => Self::Problem(payload),
        }))
    }
}

/// Splits `bytes` into parts that each fit into one frame; nothing for no bytes.
pub fn chunks(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(MAX_PAYLOAD)))
    })
}

/// Reads frames off a connection.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: BytesMut::new() }
    }

    /// Returns the next frame; `None` when the connection ended between two. Cancel-safe.
    ///
    /// # Errors
    /// When the connection fails or does not carry frames.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_SIZE);
            let read = self.inner.read_buf(&mut self.buffer).await.map_err(FrameError::Read)?;
            if read == 0 {
                let whole = self.buffer.is_empty();
                return if whole { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Frame::Input),
            bytes().prop_map(Frame::Output),
            bytes().prop_map(Frame::ErrorOutput),
            bytes().prop_map(Frame::Problem),
            any::<i32>().prop_map(Frame::Exit),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Frame::Resize { columns, rows }),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec(frames(), 0..6),
            cuts in proptest::collection::vec(1usize..40, 1..200),
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
            let mut buffer = BytesMut::new();
            let mut decoded = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                buffer.extend_from_slice(now);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    decoded.push(frame);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(decoded, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut buffer) {}
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_refused_before_it_is_read() {
        let decode = |bytes: &[u8]| Frame::decode(&mut BytesMut::from(bytes)).unwrap_err();
        assert!(matches!(decode(&[9, 0, 0, 0, 0, 0, 0, 0]), FrameError::UnknownType(9)));
        assert!(matches!(decode(&[0, 0, 0, 0, 255, 0, 0, 0]), FrameError::BadLength { .. }));
        assert!(matches!(decode(&[3, 0, 0, 0, 0, 0, 0, 5]), FrameError::BadLength { .. }));
    }

    #[test]
    fn long_output_is_split() {
        let parts: Vec<usize> =
            chunks(Bytes::from(vec![0; MAX_PAYLOAD + 3])).map(|part| part.len()).collect();
        assert_eq!(parts, [MAX_PAYLOAD, 3]);
        assert_eq!(chunks(Bytes::new()).count(), 0);
    }

    #[tokio::test]
    async fn an_end_inside_a_frame_is_told() {
        let wire = Frame::Exit(7).encode();
        let mut whole = FrameReader::new(&wire[..]);
        assert_eq!(whole.next().await.unwrap(), Some(Frame::Exit(7)));
        assert_eq!(whole.next().await.unwrap(), None);
        let mut cut = FrameReader::new(&wire[..9]);
        assert!(matches!(cut.next().await, Err(FrameError::Truncated)));
    }
}
