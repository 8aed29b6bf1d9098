//! Moving bytes between a peer and memory, without a buffer that waits with the connection.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes taken from a socket at once.
pub(crate) const READ_BYTES: usize = 16 << 10;

/// Bytes to and from a peer: a socket, TLS over one, or messages of a WebSocket.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Appends what can be read now, and answers how many bytes it is; 0 at the end.
///
/// Nothing is lost when this is dropped before it answers. The buffer lives for one poll only, so
/// ten thousand idle connections hold none.
pub(crate) async fn read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    into: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|cx| poll_read_some(reader, cx, into)).await
}

fn poll_read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    cx: &mut Context<'_>,
    into: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(reader).poll_read(cx, &mut buffer))?;
    into.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// What happened at a stream.
#[derive(Debug)]
pub(crate) enum Moved {
    /// So many bytes were read; 0 at the end.
    Read(io::Result<usize>),
    /// What waited to be written moved on.
    Wrote(io::Result<()>),
}

/// Bytes that wait to be written, and what the stream took but did not send yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    unflushed: bool,
}

impl Outgoing {
    /// Whether nothing waits, here or in the stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.unflushed
    }

    /// Forgets what waits: nobody will take it.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.unflushed = false;
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut writer = Pin::new(writer);
        if self.bytes.is_empty() {
            ready!(writer.as_mut().poll_flush(cx))?;
            self.unflushed = false;
            return Poll::Ready(Ok(()));
        }
        let wrote = ready!(writer.poll_write(cx, &self.bytes))?;
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.bytes.drain(..wrote);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    /// Writes what the stream takes at once; whether it took anything.
    ///
    /// Whoever calls this waits with [`transfer`] for the rest: only that wakes a task.
    pub(crate) fn write_now<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> io::Result<bool> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut moved = false;
        while !self.is_empty() {
            match self.poll_write(writer, &mut cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.is_empty() && self.bytes.capacity() > READ_BYTES {
            self.bytes = Vec::new();
        }
        Ok(moved)
    }
}

/// Waits until something was read, where there is a place for it, or until something that waits to
/// be written moved on. Nothing is lost when this is dropped before it answers.
pub(crate) async fn transfer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut into: Option<&mut Vec<u8>>,
    out: &mut Outgoing,
) -> Moved {
    poll_fn(|cx| {
        if !out.is_empty()
            && let Poll::Ready(wrote) = out.poll_write(stream, cx)
        {
            return Poll::Ready(Moved::Wrote(wrote));
        }
        match into.as_deref_mut() {
            Some(into) => poll_read_some(stream, cx, into).map(Moved::Read),
            None => Poll::Pending,
        }
    })
    .await
}
