//! Reading Rust, as far as the rules of tests/house.rs need it: words and signs, paths, and which lines are tests.

use std::fmt;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A rule that is broken, and where.
pub(super) struct Breach {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) rule: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// A word or a sign of the code; comments and literals are none.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// A path such as `crate::system::files`; a group in braces is one path for each member.
pub(super) struct PathInCode {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// In how many modules of the same file it is.
    pub(super) within: usize,
}

/// One source file.
pub(super) struct File {
    /// Its name from the top of the project.
    pub(super) name: String,
    pub(super) lines: usize,
    pub(super) tokens: Vec<Token>,
    /// The lines that are compiled for tests only: first and last of each stretch.
    pub(super) tests: Vec<(usize, usize)>,
}

impl File {
    pub(super) fn new(name: impl Into<String>, text: &str) -> Self {
        let tokens = tokens(text);
        let tests = test_lines(&tokens);
        Self {
            name: name.into(),
            lines: text.lines().count(),
            tokens,
            tests,
        }
    }

    pub(super) fn breach(&self, line: usize, rule: String) -> Breach {
        Breach {
            file: self.name.clone(),
            line,
            rule,
        }
    }

    /// The module path below the crate: `src/accounts/keys.rs` is `accounts`, `keys`.
    pub(super) fn module(&self) -> Vec<&str> {
        let inside = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        inside.split('/').filter(|part| *part != "mod").collect()
    }

    pub(super) fn room(&self) -> &str {
        self.module()[0]
    }

    pub(super) fn is_plan(&self) -> bool {
        self.module().contains(&"plan")
    }

    /// Whether the whole file is tests: a module `tests` in a file of its own.
    pub(super) fn is_test(&self) -> bool {
        self.module().contains(&"tests")
    }

    /// The tokens outside tests.
    pub(super) fn code(&self) -> Vec<Token> {
        let is_code = |token: &&Token| {
            !self.is_test()
                && !self
                    .tests
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&token.line))
        };
        self.tokens.iter().filter(is_code).cloned().collect()
    }

    /// Every path outside tests.
    pub(super) fn paths(&self) -> Vec<PathInCode> {
        let code = self.code();
        let text = |position: usize| code.get(position).map_or("", |token| token.text.as_str());
        let mut paths = Vec::new();
        // For every open brace, whether it is that of a module.
        let mut braces: Vec<bool> = Vec::new();
        for position in 0..code.len() {
            match text(position) {
                "{" => braces.push(position > 1 && text(position - 2) == "mod"),
                "}" => drop(braces.pop()),
                word if is_word(word) && text(position + 1) == "::" => {
                    if position > 0 && text(position - 1) == "::" {
                        continue;
                    }
                    let known = paths.len();
                    expand(&code, position, &mut Vec::new(), &mut paths);
                    let within = braces.iter().filter(|is_module| **is_module).count();
                    for path in &mut paths[known..] {
                        path.within = within;
                    }
                }
                _ => {}
            }
        }
        paths
    }

    /// What a path names below the root of the crate; `None` for a path that does not begin there.
    pub(super) fn within_crate<'a>(&self, path: &'a PathInCode) -> Option<&'a [String]> {
        let segments = &path.segments;
        let ups = segments
            .iter()
            .take_while(|segment| *segment == "super")
            .count();
        match segments.first().map(String::as_str) {
            Some("crate") => Some(&segments[1..]),
            Some("gce_guest") if self.name == "src/main.rs" => Some(&segments[1..]),
            Some("super") if ups >= self.module().len() + path.within => Some(&segments[ups..]),
            _ => None,
        }
    }
}

/// Adds the path that begins at `position`, below `prefix`; returns the position after it.
fn expand(
    code: &[Token],
    mut position: usize,
    prefix: &mut Vec<String>,
    paths: &mut Vec<PathInCode>,
) -> usize {
    let depth = prefix.len();
    let line = code[position].line;
    while let Some(token) = code.get(position) {
        if token.text == "{" {
            position += 1;
            while position < code.len() && code[position].text != "}" {
                let text = &code[position].text;
                let is_rename = text == "as" || code[position - 1].text == "as";
                if !is_rename && (is_word(text) || text == "*") {
                    position = expand(code, position, prefix, paths);
                } else {
                    position += 1;
                }
            }
            prefix.truncate(depth);
            return position + 1;
        }
        prefix.push(token.text.clone());
        position += 1;
        if code.get(position).is_none_or(|next| next.text != "::") {
            break;
        }
        position += 1;
        let goes_on = code
            .get(position)
            .is_some_and(|next| is_word(&next.text) || next.text == "{" || next.text == "*");
        if !goes_on {
            break;
        }
    }
    if prefix.len() > 1 && prefix.last().is_some_and(|last| last == "self") {
        prefix.pop();
    }
    paths.push(PathInCode {
        segments: prefix.clone(),
        line,
        within: 0,
    });
    prefix.truncate(depth);
    position
}

pub(super) fn triples(code: &[Token]) -> impl Iterator<Item = [&Token; 3]> {
    code.windows(3)
        .map(|three| [&three[0], &three[1], &three[2]])
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

pub(super) fn is_type(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

/// The position after the attribute that begins at `position`, if one does.
pub(super) fn attribute_end(tokens: &[Token], position: usize) -> Option<usize> {
    let text = |offset: usize| {
        tokens
            .get(position + offset)
            .map(|token| token.text.as_str())
    };
    let opening = match (text(0)?, text(1)?) {
        ("#", "[") => position + 1,
        ("#", "!") if text(2)? == "[" => position + 2,
        _ => return None,
    };
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(opening) {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" if depth == 1 => return Some(index + 1),
            "]" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The stretches of lines under `#[cfg(test)]`.
fn test_lines(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut stretches = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        let Some(end) = attribute_end(tokens, position) else {
            position += 1;
            continue;
        };
        let words: Vec<_> = tokens[position..end]
            .iter()
            .map(|token| token.text.as_str())
            .filter(|text| is_word(text))
            .collect();
        if words.starts_with(&["cfg", "test"]) || words.starts_with(&["cfg", "all", "test"]) {
            let last = item_end(tokens, end);
            stretches.push((tokens[position].line, tokens[last].line));
            position = last;
        } else {
            position = end;
        }
    }
    stretches
}

/// The position of the last token of the item that begins at `position`, attributes included.
fn item_end(tokens: &[Token], mut position: usize) -> usize {
    while let Some(end) = attribute_end(tokens, position) {
        position = end;
    }
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(position) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth <= 1 => return index,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return index,
            _ => {}
        }
    }
    tokens.len() - 1
}

/// The words and signs of a source text, flat. `::` and `!=` are one sign each; literals and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let stream: TokenStream = text.parse().expect("the source is Rust: it compiles");
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let mut push = |text: &str, line| {
            tokens.push(Token {
                text: text.to_owned(),
                line,
            });
        };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open, line);
                flatten(group.stream(), tokens);
                tokens.push(Token {
                    text: close.to_owned(),
                    line: group.span_close().end().line,
                });
            }
            TokenTree::Ident(word) => push(&word.to_string(), line),
            TokenTree::Punct(sign) => {
                let joint = sign.spacing() == Spacing::Joint;
                let next = |expected: char| move |tree: &TokenTree| matches!(tree, TokenTree::Punct(sign) if sign.as_char() == expected);
                match sign.as_char() {
                    ':' if joint && trees.next_if(next(':')).is_some() => push("::", line),
                    '!' if joint && trees.next_if(next('=')).is_some() => push("!=", line),
                    '\'' => drop(trees.next()),
                    sign => push(&sign.to_string(), line),
                }
            }
            TokenTree::Literal(_) => {}
        }
    }
}
