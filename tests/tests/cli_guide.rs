//! Every example of the guide (`docs/guide`, and the pages of `docs` that are played below), run as it stands.
//!
//! A code block says in its first line what it is: `console` (commands after `$`, going on after `>`, then what they print), `console on`
//! (the same, in the shell of the block before), `repl` (a
//! session of `hsh` in a terminal), `php FILE` and `yaml FILE` (a file to write), `sh build` (the one that would take
//! minutes, not run). In what is printed `…` stands for anything, and a line of `…` alone for any lines.
//! The ports of the examples are replaced by free ones.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use angarium_tests::program::{angarium, installed, root};
use regex::Regex;
use rexpect::reader::Options;
use rexpect::session::spawn_with_options;

/// A fenced block of a page.
struct Block {
    kind: String,
    /// The file that it is, for blocks that are files.
    file: String,
    /// Its first line in the page.
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let (kind, file) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Block {
                    kind: kind.to_owned(),
                    file: file.to_owned(),
                    line: index + 2,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block is not closed");
    blocks
}

/// The ports of the examples: that of the server first, that of the destination second.
const PORTS: [&str; 8] = [
    "2525", "2526", "2527", "2528", "2529", "8080", "8443", "9090",
];

/// A page at work: its folder and the ports that stand for those of the examples.
struct Page {
    name: String,
    folder: tempfile::TempDir,
    ports: Vec<(&'static str, String)>,
    port: Regex,
}

impl Page {
    /// Plays a page of `docs`, whose examples use these programs besides.
    fn play(name: &str, programs: &[&str]) {
        if !programs.iter().chain(&["bash"]).all(|name| installed(name)) {
            return;
        }
        let text = fs::read_to_string(root().join("docs").join(name)).unwrap();
        let sockets = PORTS.map(|port| (port, TcpListener::bind("127.0.0.1:0").unwrap()));
        let free = |socket: &TcpListener| socket.local_addr().unwrap().port().to_string();
        let page = Page {
            name: name.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            ports: sockets
                .iter()
                .map(|(port, socket)| (*port, free(socket)))
                .collect(),
            port: Regex::new(&format!(r"\b({})\b", PORTS.join("|"))).unwrap(),
        };
        drop(sockets);
        let bin = page.folder.path().join(".bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(angarium(), bin.join("angarium")).unwrap();
        let blocks = blocks(&text);
        assert!(blocks.len() > 3, "the page has examples");
        let mut blocks = blocks.into_iter().peekable();
        while let Some(mut block) = blocks.next() {
            let place = format!("{}:{}", page.name, block.line);
            match (block.kind.as_str(), block.file.as_str()) {
                ("sh", "build") => {}
                ("php" | "yaml", file) if !file.is_empty() => {
                    page.write(file, &page.with_free_ports(&block.text));
                }
                ("console", "") => {
                    while let Some(next) =
                        blocks.next_if(|next| next.kind == "console" && next.file == "on")
                    {
                        block.text.push_str(&next.text);
                    }
                    page.console(&place, &block.text);
                }
                ("repl", "") => page.repl(&place, &block.text),
                (kind, file) => panic!("{place}: what is a block of `{kind} {file}`?"),
            }
        }
    }

    fn with_free_ports(&self, text: &str) -> String {
        let free = |found: &regex::Captures<'_>| {
            let port = self.ports.iter().find(|(port, _)| *port == &found[1]);
            port.unwrap().1.clone()
        };
        self.port.replace_all(text, free).into_owned()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self) -> std::ffi::OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = std::iter::once(self.folder.path().join(".bin"));
        std::env::join_paths(own.chain(std::env::split_paths(&path))).unwrap()
    }

    /// Runs the commands of a block in one shell, and compares what each of them prints.
    fn console(&self, place: &str, text: &str) {
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((command, output))) if output.is_empty() && line.starts_with("> ") => {
                    command.push('\n');
                    command.push_str(&line[2..]);
                }
                (None, Some((_, output))) => {
                    output.push_str(line);
                    output.push('\n');
                }
                (None, None) => panic!("{place}: the block does not begin with a command"),
            }
        }
        let mut script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n".to_owned();
        for (command, _) in &commands {
            let command = self.with_free_ports(command);
            let log = command
                .strip_suffix('&')
                .and_then(|started| started.split_once(" 2> "));
            if let Some((_, log)) = log {
                script.push_str(&format!("rm -f {log}\n"));
            }
            script.push_str(&command);
            script.push('\n');
            if command.contains(" init ") {
                // The new bundle has the ports of the examples.
                for (port, free) in &self.ports {
                    script.push_str(&format!(
                        "sed -i 's/\\b{port}\\b/{free}/' mail/src/config/*.yaml\n"
                    ));
                }
            }
            if command.ends_with('&') {
                // A reader starts the next command when the program listens.
                let listens = match log {
                    Some((_, log)) => format!("grep -qs ' ready ' {log}"),
                    None => format!("(exec 3<>/dev/tcp/127.0.0.1/{})", self.ports[1].1),
                };
                script.push_str(&format!(
                    "for try in $(seq 600); do {listens} 2>/dev/null && break; sleep 0.1; done\n"
                ));
            }
            script.push_str("echo '@@@'\n");
        }
        self.write(".block", &script);
        let output = Command::new("timeout")
            .args(["300", "bash", "--norc", "-c", "exec 2>&1; . ./.block"])
            .current_dir(self.folder.path())
            .env("PATH", self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let parts: Vec<&str> = printed.split("@@@\n").collect();
        for ((command, expected), part) in commands.iter().zip(&parts) {
            assert!(
                fits(&self.with_free_ports(expected), part),
                "{place}: $ {command}\nthe page says:\n{expected}\nprinted was:\n{part}"
            );
        }
        assert_eq!(parts.len(), commands.len() + 1, "{place}: {printed}");
    }

    /// Types what stands after the prompts into a terminal, and compares what is shown.
    fn repl(&self, place: &str, text: &str) {
        let mut command = Command::new(angarium());
        command
            .args(["hsh", "-c", "/dev/null"])
            .current_dir(self.folder.path())
            .env("TERM", "dumb")
            .env("XDG_STATE_HOME", self.folder.path());
        let options = Options::new().timeout_ms(Some(60_000));
        let mut session = spawn_with_options(command, options).unwrap();
        let prompt = "(hsl|\\.\\.\\.)> ";
        let (_, mut shown) = session.exp_regex(prompt).unwrap();
        let mut transcript = String::new();
        for line in text.lines() {
            let Some((_, typed)) = line
                .split_once("> ")
                .filter(|_| line.starts_with(['h', '.']))
            else {
                continue;
            };
            transcript.push_str(&format!("{shown}{typed}\n"));
            session.send_line(typed).unwrap();
            if typed == ":quit" {
                session.exp_eof().unwrap();
                break;
            }
            let (answer, next) = session.exp_regex(prompt).unwrap();
            transcript.push_str(&answer.replace('\r', ""));
            shown = next;
        }
        assert!(
            fits(text, &transcript),
            "{place}: the page says:\n{text}\nshown was:\n{transcript}"
        );
    }
}

/// Whether `text` is what the page says, where `…` stands for anything.
fn fits(page: &str, text: &str) -> bool {
    let mut pattern = String::from("^");
    for line in page.lines() {
        if line == "…" {
            pattern.push_str("(?s:.*)");
        } else {
            let parts: Vec<String> = line.split('…').map(regex::escape).collect();
            pattern.push_str(&parts.join("[^\\n]*"));
            pattern.push('\n');
        }
    }
    pattern.push('$');
    Regex::new(&pattern).unwrap().is_match(text)
}

#[test]
fn the_first_hour() {
    Page::play("guide/first-hour.md", &[]);
}

#[test]
fn a_running_server() {
    Page::play("guide/ctl.md", &[]);
}

#[test]
fn bounces() {
    Page::play("guide/bounces.md", &[]);
}

#[test]
fn scripts_and_the_repl() {
    Page::play("guide/hsh.md", &[]);
}

#[test]
fn checking_scripts() {
    Page::play("guide/lint.md", &[]);
}

#[test]
fn listeners() {
    Page::play("listeners.md", &["openssl", "swaks", "curl"]);
}

#[test]
fn mail_over_http() {
    Page::play("http.md", &["openssl", "curl"]);
}

#[test]
fn watching_a_server() {
    Page::play("monitoring.md", &["curl"]);
}

#[test]
fn no_page_is_left_out_and_links_lead_somewhere() {
    let guide = root().join("docs/guide");
    let mut pages: Vec<PathBuf> = fs::read_dir(&guide)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    let names: Vec<&str> = pages
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["bounces.md", "ctl.md", "first-hour.md", "hsh.md", "lint.md"],
        "play every page above"
    );
    for page in ["README.md", "listeners.md", "http.md", "monitoring.md"] {
        pages.push(root().join("docs").join(page));
    }
    pages.push(root().join("docs/reference/commands.md"));
    let link = Regex::new(r"\]\(([^)#]+)").unwrap();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for found in link.captures_iter(&text) {
            let target = page.parent().unwrap().join(Path::new(&found[1]));
            assert!(target.exists(), "{}: {}", page.display(), &found[1]);
        }
    }
}

#[test]
fn a_line_of_the_page_fits_what_it_says_and_nothing_else() {
    assert!(fits("a…c\n", "abc\n") && fits("…\nz\n", "x\ny\nz\n") && fits("", ""));
    assert!(!fits("a…c\n", "a\nc\n") && !fits("", "x\n") && !fits("a\n", "a\nb\n"));
}
