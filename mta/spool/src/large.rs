//! Large bodies: each gets a file of its own, which is durable before the log names it.
//!
//! This happens before the writer sees the transaction, so that no other commit waits for it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use angarium_effects::disk::{DiskFile, OpenMode};

use crate::error::CommitError;
use crate::shared::{Request, Shared};
use crate::ticket::Completer;
use crate::transaction::Work;

/// Stores the large bodies of a transaction, then passes it on to the writer.
pub(crate) fn store(shared: &Shared, work: Work, completer: Completer) {
    let mut named = Vec::new();
    for new in &work.bodies {
        let Some(file) = new.body.file() else {
            continue;
        };
        let path = shared.body_path(new.id);
        let stored = store_one(shared, file, &path, new.body.length());
        named.push(path);
        if let Err(error) = stored {
            return give_up(shared, named, completer, error);
        }
    }
    let bodies = shared.config.bodies();
    if shared.config.fsync
        && let Err(error) = shared.disk.sync_dir(&bodies)
    {
        named.push(bodies);
        return give_up(shared, named, completer, error);
    }
    let size = work.size();
    // A refusal (the spool is closed) drops the completer, which tells the sender.
    shared
        .mailbox
        .send_always(Request::Commit(work, completer), size);
}

fn give_up(
    shared: &Shared,
    mut named: Vec<std::path::PathBuf>,
    completer: Completer,
    error: io::Error,
) {
    let path = named.last().cloned().unwrap_or_default();
    if path == shared.config.bodies() {
        named.pop();
    }
    for path in named {
        shared.discard(path);
    }
    completer.complete(Err(CommitError::Io {
        path,
        source: Arc::new(error),
    }));
}

fn store_one(
    shared: &Shared,
    file: &Arc<dyn DiskFile>,
    path: &Path,
    length: u64,
) -> io::Result<()> {
    if shared.config.fsync {
        file.sync_data()?;
    }
    match file.link(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::CrossesDevices
            ) =>
        {
            copy(shared, file, path, length)
        }
        other => other,
    }
}

/// Copies a body to its place, where the file system cannot name a file that has no name.
fn copy(shared: &Shared, from: &Arc<dyn DiskFile>, path: &Path, length: u64) -> io::Result<()> {
    let to = shared.disk.open(path, OpenMode::CreateNew)?;
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0u64;
    while at < length {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
        at = at.saturating_add(read as u64);
    }
    if shared.config.fsync {
        to.sync_data()
    } else {
        Ok(())
    }
}
