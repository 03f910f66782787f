//! The examples of the page about queue policies, each loaded and used to send a message.

use super::bundle::transports;
use super::*;

const PAGE: &str = include_str!("../../../../docs/queue-policies.md");

/// The files of each section: heading, then path and text.
fn sections() -> Vec<(String, Vec<(String, String)>)> {
    let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in PAGE.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (Some(_), Some(_)) => {
                let files = sections.last_mut().map(|(_, files)| files);
                files.expect("a heading").extend(open.take());
            }
            (None, Some(info)) => {
                let (_, file) = info.split_once(' ').expect("a block names its file");
                open = Some((file.to_owned(), String::new()));
            }
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    sections.push((heading.to_owned(), Vec::new()));
                }
            }
        }
    }
    sections
}

#[test]
fn the_examples_of_the_page_load_and_send() {
    let sections = sections();
    assert_eq!(sections.len(), 6);
    for (heading, files) in sections {
        assert!(!files.is_empty(), "{heading} has no example");
        run(|dir| async move {
            let sink = Sink::accepting();
            let port = sink.port();
            let plain = transports(port, "");
            let mut files: Vec<(String, String)> = files
                .into_iter()
                .map(|(path, text)| (path, text.replace("port: 2525", &format!("port: {port}"))))
                .collect();
            if files
                .iter()
                .all(|(path, _)| path != "config/smtpd-app.yaml")
            {
                files.push(("config/smtpd-app.yaml".to_owned(), plain));
            }
            let files: Vec<(&str, &str)> = files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str()))
                .collect();
            let setup = Setup::bundle(&files).domains(&["a.test", "down.example"]);
            let mut rig = setup.start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            has(&rig.only().await, &["result=DELIVERED"]);
            assert!(
                rig.lines(" error").is_empty(),
                "{heading}: {:?}",
                rig.log.lines()
            );
            if heading == "Slowing down when a destination complains" {
                let held = rig.submit("b@down.example", MESSAGE, Change::None).await;
                rig.until(|| rig.lines("suspend add").len() == 1).await;
                rig.settled().await;
                assert_eq!(rig.state(held).await, Some(State::Active));
            }
            if heading == "Several source addresses" {
                assert_eq!(sink.received()[0].helo, "one.example.net");
            }
            rig.stop().await;
        });
    }
}
