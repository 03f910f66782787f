//! `init`, `pack`, `unpack`, `check`: bundles as folders and as packed files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use angarium_config::yaml::Position;
use angarium_config::{
    FileKind, FileSource as _, KeyUse, Options, PackOptions, Source, Survey, bundle, json_schema,
    load, pack, survey, unpack,
};

use super::failure::Failure;
use super::files::{self, SystemFiles};
use super::terminal::{self, print};

/// `angarium init`
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Folder of the new bundle; it must be empty or not there yet
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the quickstart bundle.
///
/// # Errors
/// When the folder holds something, or cannot be written.
pub fn init(args: &InitArgs) -> Result<(), Failure> {
    let dir = &args.dir;
    if !files::is_vacant(dir)? {
        return Err(Failure::Failed(format!(
            "the folder {} is not empty: name a new one, so that nothing of yours is overwritten",
            dir.display()
        )));
    }
    let new = bundle::quickstart(dir);
    for (path, bytes) in new.iter() {
        files::write_new(path, bytes)?;
    }
    let shown = dir.display();
    print(&format!(
        "A mail server with a script at every step is in {shown}; {} says what does what.\n\n  \
         angarium serve {shown}          runs it\n  \
         angarium serve --check {shown}  checks settings and scripts without starting\n",
        dir.join("README.md").display()
    ))
}

/// `angarium schema`
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The file: smtpd.yaml, smtpd-app.yaml, smtpd-policy.yaml, smtpd-suspend.yaml or smtpd-delivery.yaml
    #[arg(value_name = "FILE")]
    file: String,
}

/// Prints the schema of a configuration file.
///
/// # Errors
/// For a file that has none.
pub fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    let file = FileKind::ALL
        .into_iter()
        .find(|kind| kind.file_name() == args.file);
    let Some(file) = file else {
        let names = FileKind::ALL.map(FileKind::file_name).join(" or ");
        return Err(Failure::Usage(format!(
            "there is no schema for {}: name {names}",
            args.file
        )));
    };
    print(&format!("{:#}\n", json_schema(file)))
}

/// `angarium pack`
#[derive(Debug, clap::Args)]
pub struct PackArgs {
    /// Folder of the bundle: `src` in it is packed, `dist` in it is written
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Folder with config, hooks and files, if it is not DIR/src
    #[arg(long, value_name = "DIR")]
    src_dir: Option<PathBuf>,
    /// Folder for the packed files, if it is not DIR/dist
    #[arg(long, value_name = "DIR")]
    dist_dir: Option<PathBuf>,
    /// Check everything and write nothing
    #[arg(long)]
    check: bool,
    /// Pack the other way: from the packed files to the source folder
    #[arg(long)]
    unpack: bool,
    /// Leave out files that match this pattern; may be given again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Take keys that are unknown or not available yet
    #[arg(long)]
    ignore_unknown: bool,
}

impl PackArgs {
    fn src(&self) -> PathBuf {
        self.src_dir.clone().unwrap_or_else(|| self.dir.join("src"))
    }

    fn dist(&self) -> PathBuf {
        self.dist_dir
            .clone()
            .unwrap_or_else(|| self.dir.join("dist"))
    }
}

/// Packs a bundle, or unpacks it with `--unpack`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn pack_command(args: &PackArgs) -> Result<(), Failure> {
    if args.unpack {
        return unpack_from(&args.src(), &args.dist(), args.check);
    }
    let options = PackOptions {
        exclude: args.exclude.clone(),
        ignore_unknown: args.ignore_unknown,
    };
    let source = args.src_dir.as_deref().unwrap_or(&args.dir);
    let packed = pack(&SystemFiles, source, &options)?;
    warn(&packed.warnings);
    super::lint::check_hooks(source, &packed.scripts)?;
    if args.check {
        return Ok(());
    }
    for (name, bytes) in &packed.files {
        let path = args.dist().join(name);
        files::write(&path, bytes)?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// `angarium unpack`
#[derive(Debug, clap::Args)]
pub struct UnpackArgs {
    /// Folder of the bundle: `dist` in it is unpacked, `src` in it is written
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Folder to write to, if it is not DIR/src
    #[arg(long, value_name = "DIR")]
    src_dir: Option<PathBuf>,
    /// Folder with the packed files, if it is not DIR/dist
    #[arg(long, value_name = "DIR")]
    dist_dir: Option<PathBuf>,
    /// Check everything and write nothing
    #[arg(long)]
    check: bool,
}

/// Unpacks a packed bundle.
///
/// # Errors
/// Everything that is wrong with it.
pub fn unpack_command(args: &UnpackArgs) -> Result<(), Failure> {
    let src = args.src_dir.clone().unwrap_or_else(|| args.dir.join("src"));
    let dist = args
        .dist_dir
        .clone()
        .unwrap_or_else(|| args.dir.join("dist"));
    unpack_from(&src, &dist, args.check)
}

fn unpack_from(src: &Path, dist: &Path, check: bool) -> Result<(), Failure> {
    let unpacked = unpack(&SystemFiles, dist)?;
    warn(&unpacked.warnings);
    if check {
        return Ok(());
    }
    for (path, bytes) in &unpacked.files {
        let path = src.join(path);
        files::write(&path, bytes)?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn warn(warnings: &[angarium_config::ConfigError]) {
    for warning in warnings {
        terminal::error(&format!("warning: {warning}\n"));
    }
}

/// `angarium check`
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Folder of a bundle, or a packed smtpd.yaml
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// List for a bundle made for Halon what of it would work: every key as used, ignored or unknown
    #[arg(long)]
    halon: bool,
}

/// What a path on the command line names: a bundle's folder or a packed `smtpd.yaml`.
///
/// # Errors
/// There is nothing at the path.
pub fn source(path: &Path) -> Result<Source, Failure> {
    if files::is_folder(path) {
        return Ok(Source::Tree(path.to_owned()));
    }
    match SystemFiles.read(path) {
        Ok(_) => Ok(Source::Packed(path.to_owned())),
        Err(error) => Err(Failure::of_file("read", path, &error)),
    }
}

/// Checks settings and scripts of a bundle, or reports on a foreign one.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let source = source(&args.path)?;
    if args.halon {
        return report(&survey(&SystemFiles, &source)?, &source);
    }
    let loaded = load(&SystemFiles, &source, &Options::default())?;
    warn(&loaded.warnings);
    super::lint::check_config(&loaded.config)?;
    let running = &loaded.config.running;
    let count = |many: usize, one: &str, more: &str| match many {
        1 => format!("1 {one}"),
        many => format!("{many} {more}"),
    };
    print(&format!(
        "{}: settings and scripts are in order ({}, {}, {})\n",
        args.path.display(),
        count(running.servers.len(), "server", "servers"),
        count(running.scripts.len(), "hook", "hooks"),
        count(running.files.len(), "file", "files"),
    ))
}

/// The words of a key's fate.
fn fate(key_use: &KeyUse) -> (&'static str, &'static str) {
    match key_use {
        KeyUse::Used => ("used", ""),
        KeyUse::Ignored(why) => ("ignored", why),
        KeyUse::NotYet(what) => ("not yet", what),
        KeyUse::Unknown => ("unknown", ""),
    }
}

/// Prints every key and every script of a foreign bundle with what becomes of it.
fn report(survey: &Survey, source: &Source) -> Result<(), Failure> {
    let mut text = String::new();
    let mut file = "";
    for key in &survey.keys {
        if key.file != file {
            file = &key.file;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{file}");
        }
        let (word, why) = fate(&key.key_use);
        let line = key
            .position
            .map_or_else(String::new, |Position { line, .. }| line.to_string());
        let _ = write!(text, "  {line:>5}  {word:<8} {}", key.path);
        if !why.is_empty() {
            let _ = write!(text, ": {why}");
        }
        text.push('\n');
    }
    print(&text)?;
    let scripts = super::lint::survey_scripts(source)?;
    print(&scripts.text)?;
    let open = |key_use: &KeyUse| matches!(key_use, KeyUse::NotYet(_) | KeyUse::Unknown);
    let missing = survey.keys.iter().filter(|key| open(&key.key_use)).count();
    for error in &survey.errors {
        terminal::error(&format!("{error}\n"));
    }
    let total = survey.keys.len();
    let summary = if missing == 0 && survey.errors.is_empty() && scripts.failed == 0 {
        format!(
            "All {total} keys and {} scripts would work here.\n",
            scripts.count
        )
    } else {
        format!(
            "Of {total} keys {missing} would not work here; of {} scripts {} do not compile. \
             `angarium serve --ignore-unknown` starts without the keys.\n",
            scripts.count, scripts.failed
        )
    };
    print(&summary)?;
    if missing > 0 || !survey.errors.is_empty() || scripts.failed > 0 {
        return Err(Failure::Status(1));
    }
    Ok(())
}
