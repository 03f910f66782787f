//! `lint` (= `hsl-lint`): checks scripts without running them.
//!
//! With files it prints what it finds, a line each. Without files it speaks the [`protocol`] of editors.

mod protocol;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_config::types::Id;
use angarium_config::{Config, HookType, Options, Running, Script, Source as ConfigSource, load};
use angarium_lang::modules::Loader;
use angarium_lang::{Diagnostic, Severity, Source, SourceMap};
use angarium_runtime::Unit;
use angarium_runtime::library::Library;
use angarium_stdlib::regexp;

use super::failure::Failure;
use super::files::{self, SystemFiles};
use super::run::syntax_errors;
use super::terminal::{self, print};
use crate::bundle_loader::{ScriptFiles, SystemRoot};
use crate::scripts::{Root, Scripts, contexts, library_of};

/// `angarium lint`, `hsl-lint`
#[derive(Debug, clap::Args)]
#[command(version, disable_version_flag = true)]
pub struct Args {
    /// Scripts to check; without any, one YAML document is read from standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The hook whose variables and functions the scripts may use [default: by the folder of the file]
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,
    /// Folder below which includes and imports are found [default: the bundle's, or the script's]
    #[arg(short = 'R', long, value_name = "PATH")]
    rootpath: Option<PathBuf>,
    /// Check the syntax only
    #[arg(long)]
    syntax_only: bool,
    /// Warnings count as errors
    #[arg(short = 'W', long)]
    warnings: bool,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// What was found in one script.
struct Findings {
    diagnostics: Vec<Diagnostic>,
    sources: SourceMap,
}

impl Findings {
    fn error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|found| found.is_error())
    }
}

/// Checks scripts.
///
/// # Errors
/// Status 1 when something is wrong with one, 2 when it could not be checked.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.files.is_empty() {
        if io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "name the scripts to check (or pipe in a YAML document, as editors do)".to_owned(),
            ));
        }
        return protocol::answer();
    }
    let mut failed = false;
    for path in &args.files {
        let mut told = Vec::new();
        for findings in check_file(args, path)? {
            for found in &findings.diagnostics {
                failed |= args.warnings || found.is_error();
                let line = line(found, &findings.sources);
                // A script that runs in two contexts is wrong once.
                if !told.contains(&line) {
                    print(&line)?;
                    told.push(line);
                }
            }
        }
    }
    if failed {
        return Err(Failure::Status(1));
    }
    Ok(())
}

/// A script that could not be checked at all is not a script with errors: the status is another one.
fn unusable(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(text) => Failure::Usage(text),
        failure => failure,
    }
}

/// A finding as text: `FILE:LINE:COLUMN: error: MESSAGE`, then the source line, the caret and the hint.
fn line(found: &Diagnostic, sources: &SourceMap) -> String {
    let (headline, whole) = (found.headline(sources), found.render(sources));
    let place = headline
        .strip_suffix(found.message.as_str())
        .unwrap_or_default();
    let rest = whole.strip_prefix(headline.as_str()).unwrap_or_default();
    format!("{place}{}: {}{rest}", found.severity, found.message)
}

fn check_file(args: &Args, path: &Path) -> Result<Vec<Findings>, Failure> {
    let text = files::read(path).map_err(unusable)?;
    let name = path.display().to_string();
    if args.syntax_only {
        let (diagnostics, sources) = syntax_errors(&name, &text);
        return Ok(vec![Findings {
            diagnostics,
            sources,
        }]);
    }
    let bundle = BundleFolder::of(path);
    let settings = match &bundle {
        Some(bundle) => Settings::of(&bundle.root),
        None => Settings::default(),
    };
    let phases = match (&args.phase, &bundle) {
        (Some(phase), _) => vec![phase.as_str()],
        (None, Some(bundle)) => match &bundle.hook {
            Some((hook, id)) => settings.contexts(*hook, id.as_ref()),
            None => vec![""],
        },
        (None, None) => vec![""],
    };
    let mut roots = Vec::new();
    let mut below = None;
    let mut add = |folder: &Path| {
        let root = SystemRoot::new(folder);
        below = below.take().or_else(|| root.path_of(path));
        roots.push(Arc::new(root) as Arc<dyn Root>);
    };
    match (&args.rootpath, &bundle) {
        (Some(root), _) => add(root),
        (None, Some(bundle)) => {
            add(&bundle.files);
            add(&bundle.root);
        }
        (None, None) => add(path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))),
    }
    let source = Source {
        name: &name,
        path: below.as_deref().unwrap_or_default(),
        text: &text,
    };
    let loader = ScriptFiles::new(None, roots);
    let phases = phases.into_iter();
    phases
        .map(|phase| check(source, phase, settings.compat(), &loader))
        .collect()
}

/// What the configuration of a bundle says about its scripts. One that cannot be loaded says nothing: its own mistakes
/// are not those of a script.
#[derive(Default)]
struct Settings(Option<Arc<Running>>);

impl Settings {
    /// Those of the source tree in a folder.
    fn of(root: &Path) -> Settings {
        let options = Options {
            ignore_unknown: true,
            set: Vec::new(),
        };
        let loaded = load(&SystemFiles, &ConfigSource::Tree(root.to_owned()), &options);
        Settings(loaded.ok().map(|loaded| loaded.config.running))
    }

    /// In which contexts a script runs.
    fn contexts(&self, hook: HookType, id: Option<&Id>) -> Vec<&'static str> {
        match (&self.0, id) {
            (Some(running), Some(id)) => contexts(running, hook, id),
            _ => vec![hook.name()],
        }
    }

    /// The release whose spellings the scripts may use.
    fn compat(&self) -> u8 {
        self.0.as_ref().map_or(6, |running| running.compat)
    }
}

/// The source tree that a script lies in.
struct BundleFolder {
    /// `src/files`
    files: PathBuf,
    /// The folder that holds `src`.
    root: PathBuf,
    /// The hook that the script's folder stands for, and its id there.
    hook: Option<(HookType, Option<Id>)>,
}

impl BundleFolder {
    /// Looks for the folders `hooks` or `files` above a script, with `config` beside them.
    fn of(path: &Path) -> Option<BundleFolder> {
        let path = path.canonicalize().ok()?;
        let top = path.ancestors().skip(1).find(|folder| {
            let kind = folder.file_name().and_then(|name| name.to_str());
            matches!(kind, Some("hooks" | "files"))
                && folder
                    .parent()
                    .is_some_and(|src| files::is_folder(&src.join("config")))
        })?;
        let src = top.parent()?;
        let below = path.strip_prefix(top).ok()?;
        let word = match below.iter().next().and_then(|part| part.to_str()) {
            Some("queue") => below.file_stem().and_then(|stem| stem.to_str()),
            word => word,
        };
        let in_hooks = top.file_name().is_some_and(|name| name == "hooks");
        let hook = word.filter(|_| in_hooks).and_then(HookType::by_name);
        let below: PathBuf = below.iter().skip(1).collect();
        let id = below.with_extension("");
        let id = id.to_str().and_then(|id| id.parse().ok());
        let root = match src.parent() {
            Some(parent) if src.ends_with("src") => parent,
            _ => src,
        };
        Some(BundleFolder {
            files: src.join("files"),
            root: root.to_owned(),
            hook: hook.map(|hook| (hook, id)),
        })
    }
}

/// Compiles a script for a phase (empty for none) in the spellings of a release, and says everything that there is to say.
///
/// # Errors
/// When there is no such phase.
fn check(
    source: Source<'_>,
    phase: &str,
    compat: u8,
    loader: &dyn Loader,
) -> Result<Findings, Failure> {
    let library = library_of(compat);
    let context = if phase.is_empty() { "core" } else { phase };
    let Some(names) = library.context(context) else {
        return Err(Failure::Usage(no_phase(phase, &library)));
    };
    Ok(match angarium_lang::compile(source, &names, loader) {
        Err(rejected) => Findings {
            diagnostics: rejected.diagnostics,
            sources: rejected.sources,
        },
        Ok(compiled) => {
            let mut diagnostics = compiled.warnings;
            let linked = Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE);
            let sources = match linked {
                Ok(unit) => unit.program().sources.clone(),
                Err(error) => {
                    diagnostics.extend(error.diagnostics);
                    error.sources
                }
            };
            Findings {
                diagnostics,
                sources,
            }
        }
    })
}

fn no_phase(phase: &str, library: &Library) -> String {
    if HookType::by_name(phase).is_some() {
        return format!("the hook {phase} is not available yet");
    }
    let names: Vec<&str> = library
        .contexts()
        .map(|context| context.name)
        .filter(|name| *name != "core")
        .collect();
    format!(
        "there is no phase `{phase}`: choose one of {}",
        names.join(", ")
    )
}

/// Compiles every script of a configuration.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check_config(config: &Config) -> Result<(), Failure> {
    let root: Arc<dyn Root> = Arc::new(SystemRoot::new(config.startup.rootpath()));
    match Scripts::compile(&config.startup, &config.running, root) {
        Ok((_, warnings)) => {
            for warning in warnings {
                terminal::error(&format!("warning: {warning}"));
            }
            Ok(())
        }
        Err(errors) => Err(Failure::Report(errors.to_string())),
    }
}

/// Compiles the hooks of a source tree that is about to be packed.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check_hooks(dir: &Path, scripts: &[Script]) -> Result<(), Failure> {
    let src = match dir.join("src") {
        src if files::is_folder(&src) => src,
        _ => dir.to_owned(),
    };
    let root = match src.parent() {
        Some(parent) if src.ends_with("src") => parent.to_owned(),
        _ => src.clone(),
    };
    let roots: [Arc<dyn Root>; 2] = [
        Arc::new(SystemRoot::new(&src.join("files"))),
        Arc::new(SystemRoot::new(&root)),
    ];
    let loader = ScriptFiles::new(None, roots.to_vec());
    let mut report = String::new();
    let settings = Settings::of(dir);
    for script in scripts {
        for context in settings.contexts(script.hook, Some(&script.id)) {
            match check(source_of(script), context, settings.compat(), &loader) {
                Ok(findings) => {
                    let errors = findings.diagnostics.iter().filter(|found| found.is_error());
                    report.extend(errors.map(|error| error.render(&findings.sources)));
                }
                // Writing to a string cannot fail.
                Err(failure) => writeln!(report, "{}: {failure}", script.file).unwrap_or_default(),
            }
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(Failure::Report(report))
    }
}

fn source_of(script: &Script) -> Source<'_> {
    Source {
        name: &script.file,
        path: "",
        text: script.text.as_bytes(),
    }
}

/// What of a foreign bundle's scripts would run here.
pub struct ScriptSurvey {
    /// A line for each script, with what stands in its way.
    pub text: String,
    /// Scripts that were looked at.
    pub count: usize,
    /// Those that do not compile.
    pub failed: usize,
}

/// Compiles the scripts of a foreign bundle and lists what is missing.
///
/// # Errors
/// When the bundle cannot be loaded at all.
pub fn survey_scripts(source: &ConfigSource) -> Result<ScriptSurvey, Failure> {
    let options = Options {
        ignore_unknown: true,
        set: Vec::new(),
    };
    let loaded = load(&SystemFiles, source, &options)?;
    let (startup, running) = (&loaded.config.startup, &loaded.config.running);
    let root: Arc<dyn Root> = Arc::new(SystemRoot::new(startup.rootpath()));
    let loader = ScriptFiles::new(Some(Arc::clone(running)), vec![root]);
    let mut survey = ScriptSurvey {
        text: "scripts\n".to_owned(),
        count: 0,
        failed: 0,
    };
    for script in running.scripts.values() {
        survey.count += 1;
        let mut found = Vec::new();
        for context in contexts(running, script.hook, &script.id) {
            match check(source_of(script), context, running.compat, &loader) {
                Ok(findings) => found.extend(
                    findings
                        .diagnostics
                        .iter()
                        .filter(|found| found.severity == Severity::Error)
                        .map(|error| error.headline(&findings.sources)),
                ),
                Err(failure) => found.push(format!("{}: {failure}", script.file)),
            }
        }
        let word = if found.is_empty() {
            "compiles"
        } else {
            "fails"
        };
        survey.failed += usize::from(!found.is_empty());
        // Writing to a string cannot fail.
        let _ = writeln!(survey.text, "  {word:<8} {}", script.file);
        for error in found {
            let _ = writeln!(survey.text, "           {error}");
        }
    }
    Ok(survey)
}
