//! `twin dead-letters`: messages of devices that were refused, of a folder or of a running twin.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::failure::Failure;
use crate::query::Question;
use crate::{output, query};

/// The exit code of a command that was done with refusals.
const REFUSED: u8 = 3;

/// What to do with which.
#[derive(Debug, Args)]
pub(crate) struct LettersArgs {
    /// What to do
    #[arg(value_enum, default_value = "list")]
    what: What,
    /// Ids of dead letters, as `list` shows them, to show or to take in again
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// List only those refused for this reason, such as `unknown_device`
    #[arg(long)]
    reason: Option<String>,
    /// List so many, the newest first
    #[arg(long, default_value = "20", value_name = "COUNT")]
    first: u32,
    /// List those that came before this id
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// Ask a running twin at its address, such as 127.0.0.1:8080
    #[arg(long)]
    url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// List the newest
    List,
    /// Show some whole, with their payloads
    Show,
    /// Take some in again
    Retry,
}

const LIST: &str = "query($reason: String, $first: Int, $after: String) {
  deadLetters(reason: $reason, first: $first, after: $after) {
    edges { node { id at client topic reason detail size } } } }";
const SHOW: &str = "query($id: ID!) {
  deadLetter(id: $id) { id at client topic reason detail size payload payloadBase64 } }";
const RETRY: &str = "mutation($id: ID!) { retryDeadLetter(id: $id) { position changes } }";

/// `twin dead-letters`.
pub(crate) async fn run(
    config: Config,
    args: LettersArgs,
    json: bool,
) -> Result<ExitCode, Failure> {
    let LettersArgs {
        what,
        ids,
        reason,
        first,
        before,
        url,
    } = args;
    if (what == What::List) != ids.is_empty() {
        let message = match what {
            What::List => "`list` takes no ids: did you mean `show`?",
            _ => "name the ids of dead letters, as `twin dead-letters list` shows them",
        };
        return Err(Failure::usage(message));
    }
    let by_id = |text: &str| {
        let one = |id: &String| {
            let variables = Map::from_iter([("id".to_owned(), json!(id))]);
            (text.to_owned(), variables)
        };
        ids.iter().map(one).collect::<Vec<Question>>()
    };
    let questions = match what {
        What::List => {
            let variables = [
                ("reason".to_owned(), json!(reason)),
                ("first".to_owned(), json!(first)),
                ("after".to_owned(), json!(before)),
            ];
            vec![(LIST.to_owned(), Map::from_iter(variables))]
        }
        What::Show => by_id(SHOW),
        What::Retry => by_id(RETRY),
    };
    let (mut failed, mut asked) = (false, ids.iter());
    // Each is said at once: what was taken in must be known, whatever becomes of the next.
    let each = |answer: Value| {
        failed |= answer["errors"].is_array();
        failed |= what == What::Show && answer["data"]["deadLetter"].is_null();
        if json {
            output::line(&answer.to_string());
        } else {
            print(what, asked.next(), &answer);
        }
    };
    query::graphql(config, url.as_deref(), questions, each).await?;
    Ok(match what {
        _ if !failed => ExitCode::SUCCESS,
        What::Retry => ExitCode::from(REFUSED),
        What::List | What::Show => ExitCode::FAILURE,
    })
}

/// A text with its control characters written out.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn print(what: What, id: Option<&String>, answer: &Value) {
    // What devices sent must not move the cursor or forge a line.
    let text = |value: &Value| match value {
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    };
    let id = id.map_or("", String::as_str);
    let data = &answer["data"];
    match what {
        What::List => {
            let edges = data["deadLetters"]["edges"].as_array();
            for edge in edges.into_iter().flatten() {
                let part = |name: &str| text(&edge["node"][name]);
                output::line(&format!(
                    "{:>8}  {}  {:<15}  {}  {}",
                    part("id"),
                    part("at"),
                    part("reason"),
                    part("topic"),
                    part("detail")
                ));
            }
        }
        What::Show => match data["deadLetter"].as_object() {
            Some(letter) => {
                for (name, value) in letter {
                    output::line(&format!("{name:<14}{}", text(value)));
                }
            }
            None => output::note(&format!("{id}: it is not kept, or not any more")),
        },
        What::Retry => {
            if let Some(position) = data["retryDeadLetter"]["position"].as_str() {
                output::line(&format!("{id}: taken in at {position}"));
            }
        }
    }
    for error in answer["errors"].as_array().into_iter().flatten() {
        output::note(&format!("{id}: {}", text(&error["message"])));
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_a_device_sent_cannot_move_the_cursor_or_forge_a_line() {
        let sent = "twin/rw/a\u{1b}[2J\n       7  forged\u{9b}1A";
        let shown = printable(sent);
        assert_eq!(shown, "twin/rw/a\\u{1b}[2J\\n       7  forged\\u{9b}1A");
        assert!(!shown.contains(char::is_control));
        assert_eq!(printable("Musée, 水"), "Musée, 水");
    }
}
