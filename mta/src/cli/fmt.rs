//! `fmt`: puts scripts into the one canonical style.
//!
//! A file is replaced in one step, and only when it changes; a file with syntax errors is left alone.

use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use angarium_effects::disk::{Disk as _, FileKind, OpenMode, SystemDisk};
use angarium_lang::SourceMap;
use angarium_syntax::format::{FormatError, format};
use similar::TextDiff;

use super::failure::Failure;
use super::files;
use super::terminal::{print, print_bytes};

/// `angarium fmt`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scripts, and folders whose `.hsl` files are meant, with those of the folders below
    #[arg(value_name = "FILE|DIR", required_unless_present = "stdin")]
    paths: Vec<PathBuf>,
    /// Change nothing: show what would change and end with status 1 if anything would
    #[arg(long)]
    check: bool,
    /// Read one script from standard input and write it to standard output
    #[arg(long, conflicts_with = "paths")]
    stdin: bool,
    /// The name that messages use for what comes from standard input
    #[arg(
        long,
        value_name = "NAME",
        requires = "stdin",
        conflicts_with = "paths",
        default_value = "<stdin>"
    )]
    stdin_filename: String,
}

/// Formats scripts.
///
/// # Errors
/// Status 1 when a script has syntax errors, cannot be read or written, or (with `--check`) is not formatted.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.stdin {
        return from_stdin(args);
    }
    let mut scripts = Vec::new();
    for path in &args.paths {
        if files::is_folder(path) {
            collect(path, &mut scripts)?;
        } else {
            scripts.push(path.clone());
        }
    }
    let mut failed = false;
    for path in &scripts {
        match one(args, path) {
            Ok(changed) => failed |= args.check && changed,
            // The others are still formatted.
            Err(Failure::Status(status)) => return Err(Failure::Status(status)),
            Err(failure) => {
                failed = true;
                let _ = failure.report("angarium");
            }
        }
    }
    if failed {
        return Err(Failure::Status(1));
    }
    Ok(())
}

/// The scripts in a folder and those below it, sorted. Folders whose names start with a dot and links to folders are
/// left out.
fn collect(folder: &Path, scripts: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = SystemDisk
            .list(&folder)
            .map_err(|error| Failure::of_file("look into", &folder, &error))?;
        for entry in entries {
            let path = folder.join(&entry.name);
            let hidden = entry.name.as_encoded_bytes().starts_with(b".");
            let script = path.extension().is_some_and(|extension| extension == "hsl");
            match entry.kind {
                FileKind::Directory if !hidden => folders.push(path),
                FileKind::File if script => scripts.push(path),
                FileKind::Other if script && !files::is_folder(&path) => scripts.push(path),
                _ => {}
            }
        }
    }
    scripts.sort();
    Ok(())
}

/// Formats one file, or shows what would change. Tells whether it was or would be changed.
fn one(args: &Args, path: &Path) -> Result<bool, Failure> {
    let text = files::read(path)?;
    let name = path.display().to_string();
    let out = formatted(&name, &text)?;
    if out == text {
        return Ok(false);
    }
    if args.check {
        print(&difference(&name, &text, &out))?;
    } else {
        replace(path, &out)?;
        print(&format!("{name}\n"))?;
    }
    Ok(true)
}

fn from_stdin(args: &Args) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "--stdin reads a script from standard input: pipe one in".to_owned(),
        ));
    }
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    let out = formatted(&args.stdin_filename, &text)?;
    if !args.check {
        return print_bytes(&out);
    }
    if out == text {
        return Ok(());
    }
    print(&difference(&args.stdin_filename, &text, &out))?;
    Err(Failure::Status(1))
}

fn formatted(name: &str, text: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut sources = SourceMap::new();
    let too_large = |_| Failure::Failed(format!("{name} is too large: 4 GiB or more"));
    let file = sources.add(name, text).map_err(too_large)?;
    format(text, file).map_err(|error| match error {
        FormatError::Syntax(errors) => {
            Failure::Report(errors.iter().map(|error| error.render(&sources)).collect())
        }
        FormatError::Changed => Failure::Failed(format!(
            "{name}: {error}; this is a bug, please report it with the file"
        )),
    })
}

/// A unified diff.
fn difference(name: &str, old: &[u8], new: &[u8]) -> String {
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(&*old, &*new)
        .unified_diff()
        .header(name, &format!("{name} (formatted)"))
        .to_string()
}

/// How long the shortest diff is looked for; then a longer one will do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Replaces a file in one step; its mode stays, and its owner if we may set it. A link goes on leading to it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let error = |error: io::Error| Failure::of_file("write", path, &error);
    let path = path.canonicalize().map_err(error)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".fmt");
    let draft = path.with_file_name(name);
    let written = || -> io::Result<()> {
        let before = path.metadata()?;
        let file = SystemDisk.open(&draft, OpenMode::CreateEmpty)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        let now = draft.metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            // Only the superuser may; everybody else becomes the owner, as with an editor.
            let _ = chown(&draft, Some(before.uid()), Some(before.gid()));
        }
        std::fs::set_permissions(&draft, before.permissions())?;
        SystemDisk.rename(&draft, &path)
    };
    written().map_err(|failed| {
        // Best effort: the error that is reported is the first one.
        let _ = SystemDisk.unlink(&draft);
        error(failed)
    })
}
