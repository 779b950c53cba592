//! `gce-guest metadata`: the metadata client for people and for shell scripts.

use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use log::LevelFilter;

use crate::metadata::watch::Settings;
use crate::metadata::{
    Answer, Backoff, Client, Endpoint, Format, MetadataError, Query, Retry, Watcher,
};
use crate::system::log as sinks;

/// The exit status for a key that there is not.
const NOT_FOUND: u8 = 3;

/// Arguments of `gce-guest metadata`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
A PATH is a key as in the documentation, such as instance/id; a directory ends
in a slash.

Exit status: 0 done, 1 the server could not be asked or refused, 2 wrong usage,
3 there is no such key.

Examples:
  gce-guest metadata get instance/zone
  gce-guest metadata get instance/network-interfaces/ --recursive
  gce-guest metadata get instance/attributes/go --wait   until somebody sets it
  gce-guest metadata watch instance/maintenance-event    a line for every change
  gce-guest metadata put guest-attributes/build/state ready")]
pub struct Arguments {
    /// Ask another server: literal addresses, separated by commas, as 127.0.0.1:8080.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    endpoint: Option<Endpoint>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a value, or the entries of a directory.
    #[group(skip)]
    Get {
        #[command(flatten)]
        what: What,
        /// Wait for the next change and print the new value. A server that is not there and a key that does not exist are
        /// waited for.
        #[arg(long)]
        wait: bool,
    },
    /// Print a line with the value now, and one for every change, for ever.
    ///
    /// Text is on one line: a backslash, a newline and a carriage return in it are written \\, \n and \r, as `printf %b`
    /// reads them. With --json or --recursive, and for directories, the line is JSON.
    #[group(skip)]
    Watch {
        #[command(flatten)]
        what: What,
    },
    /// Write a guest attribute. The VM needs the metadata enable-guest-attributes=TRUE.
    #[group(skip)]
    Put {
        /// guest-attributes/NAMESPACE/KEY
        path: String,
        /// The value; - reads it from standard input.
        value: String,
    },
}

#[derive(Args, Debug)]
#[group(skip)]
struct What {
    /// The key, with parameters if it takes any, as in .../identity?audience=URL.
    path: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// With all that is below it, as JSON.
    #[arg(long, conflicts_with = "json")]
    recursive: bool,
}

impl What {
    /// The key and the query; the path may carry parameters.
    fn split(&self) -> (String, Query) {
        let (key, parameters) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let format = match (self.json, self.recursive) {
            (_, true) => Format::Recursive,
            (true, false) => Format::Json,
            (false, false) => Format::Text,
        };
        let mut query = Query {
            format,
            ..Query::default()
        };
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query = query.with_parameter(name, value);
        }
        (key.trim_start_matches('/').to_owned(), query)
    }
}

/// Does what the arguments say.
///
/// # Errors
/// The server cannot be asked, or refuses; or standard output is closed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = Client::new(arguments.endpoint.clone().unwrap_or_default());
    let result = match &arguments.verb {
        Verb::Get { what, wait: false } => get(&client, what),
        Verb::Get { what, wait: true } => wait(&client, what),
        Verb::Watch { what } => watch(&client, what),
        Verb::Put { path, value } => put(&client, path, value),
    };
    match result {
        Err(error) if matches!(error.downcast_ref(), Some(MetadataError::NotFound(_))) => {
            super::tell(&format!("gce-guest: {error:#}"));
            Ok(ExitCode::from(NOT_FOUND))
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

/// A person waits: three attempts, a second or two apart.
fn patience() -> Retry {
    Retry {
        backoff: Backoff {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(2),
        },
        ..Retry::at_most(
            const { NonZeroU32::new(3).expect("3 is not 0") },
            "gce-guest",
        )
    }
}

/// Asks for a key; a directory without its slash is asked for with it.
fn ask(client: &Client, key: &str, query: &Query) -> Result<(String, Answer), MetadataError> {
    // An answer that is not what was asked for is a failed attempt, like any other.
    let read = |answer: Answer| match query.format {
        Format::Text => Ok(answer),
        Format::Json | Format::Recursive => answer.json().map(|_| answer),
    };
    let ask = |key: &str| patience().run(|| client.get(key, query).and_then(read));
    match ask(key) {
        Err(MetadataError::Directory(_)) => {
            let directory = format!("{key}/");
            ask(&directory).map(|answer| (directory, answer))
        }
        result => result.map(|answer| (key.to_owned(), answer)),
    }
}

fn get(client: &Client, what: &What) -> anyhow::Result<()> {
    let (key, query) = what.split();
    let (_, answer) = ask(client, &key, &query)?;
    print(&shown(&answer, query.format)?)
}

/// Waits for the next change of a key, or for its appearance.
fn wait(client: &Client, what: &What) -> anyhow::Result<()> {
    let (key, query) = what.split();
    let mut seen = None;
    let key = match ask(client, &key, &query) {
        Ok((key, answer)) => {
            seen = Some(answer.etag);
            key
        }
        Err(error) if error.is_transient() || matches!(error, MetadataError::NotFound(_)) => key,
        Err(error) => return Err(error.into()),
    };
    let format = query.format;
    follow(client, &key, query, &mut |answer| {
        if seen.as_ref() == Some(&answer.etag) {
            return Ok(true);
        }
        print(&shown(answer, format)?)?;
        Ok(false)
    })
}

fn watch(client: &Client, what: &What) -> anyhow::Result<()> {
    let (key, mut query) = what.split();
    let key = match client.get(&key, &query) {
        Err(MetadataError::Directory(_)) => format!("{key}/"),
        _ => key,
    };
    if key.is_empty() || key.ends_with('/') {
        query.format = Format::Recursive;
    }
    let format = query.format;
    let mut last = None;
    follow(client, &key, query, &mut |answer| {
        if last.as_ref() != Some(&answer.etag) {
            print(&line(answer, format)?)?;
            last = Some(answer.etag.clone());
        }
        Ok(true)
    })
}

/// Hands every answer to `take` until it says that this was enough, or fails.
fn follow(
    client: &Client,
    key: &str,
    query: Query,
    take: &mut dyn FnMut(&Answer) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    sinks::start(&sinks::Options::console(LevelFilter::Info));
    let settings = Settings {
        // Who waits for a key to appear wants to know within seconds.
        backoff: Backoff {
            cap: Duration::from_secs(5),
            ..Backoff::default()
        },
        ..Settings::key(key, query)
    };
    let watcher = Watcher::new(client, settings);
    let stop = watcher.stop();
    let mut result = Ok(());
    watcher.run_with(
        |answer| Ok(answer.clone()),
        |update| -> Result<(), std::convert::Infallible> {
            match take(&update.value) {
                Ok(true) => {}
                Ok(false) => stop.stop(),
                Err(error) => {
                    result = Err(error);
                    stop.stop();
                }
            }
            Ok(())
        },
    );
    result
}

fn put(client: &Client, path: &str, value: &str) -> anyhow::Result<()> {
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("instance/").unwrap_or(path);
    let (namespace, key) = path
        .strip_prefix("guest-attributes/")
        .and_then(|attribute| attribute.split_once('/'))
        .context("only guest attributes can be written: guest-attributes/NAMESPACE/KEY")?;
    let value = match value {
        "-" => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("read the value from standard input")?;
            text
        }
        value => value.to_owned(),
    };
    let put = || client.put_guest_attribute(namespace, key, &value);
    patience().run(put).map_err(|error| match error {
        MetadataError::Status(403) => anyhow::Error::new(error)
            .context("guest attributes are off: set the metadata enable-guest-attributes=TRUE"),
        error => error.into(),
    })
}

/// What a person reads: JSON in lines, text as it is with a newline at its end.
fn shown(answer: &Answer, format: Format) -> anyhow::Result<Vec<u8>> {
    let mut bytes = match format {
        Format::Text => answer.body.clone(),
        Format::Json | Format::Recursive => {
            serde_json::to_vec_pretty(&answer.json()?).context("write JSON")?
        }
    };
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// What a script reads: one line.
fn line(answer: &Answer, format: Format) -> anyhow::Result<Vec<u8>> {
    let mut text = match format {
        Format::Text => String::from_utf8_lossy(&answer.body)
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\r', "\\r"),
        Format::Json | Format::Recursive => answer.json()?.to_string(),
    };
    text.push('\n');
    Ok(text.into_bytes())
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .context("write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Etag;

    #[test]
    fn parameters_of_a_path_are_parameters_of_the_query() {
        let what = |path: &str| What {
            path: path.into(),
            json: false,
            recursive: false,
        };
        let (key, query) = what("/instance/a/identity?audience=https://x&format=full").split();
        assert_eq!(key, "instance/a/identity");
        let expected = [("audience", "https://x"), ("format", "full")];
        assert_eq!(
            query.parameters,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn a_line_is_one_line() {
        let answer = Answer {
            body: b"a\\b\nc\r\n".to_vec(),
            etag: Etag::none(),
            date: None,
        };
        assert_eq!(line(&answer, Format::Text).unwrap(), b"a\\\\b\\nc\\r\\n\n");
        assert_eq!(shown(&answer, Format::Text).unwrap(), b"a\\b\nc\r\n");
    }
}
