//! Reading from a socket without a buffer that waits with it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::tcp::ReadHalf;

/// Bytes taken from a socket at once.
pub(crate) const READ_BYTES: usize = 16 << 10;

/// Appends what can be read now, and answers how many bytes it is; 0 at the end.
///
/// Nothing is lost when this is dropped before it answers. The buffer lives for one poll only, so
/// ten thousand idle connections hold none.
pub(crate) async fn read_some(reader: &mut ReadHalf<'_>, into: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
        into.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}
