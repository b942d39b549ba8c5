//! Reading Rust sources as tokens: comments and strings fall away, test code is left out.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One source file, named by its path from the repository's root.
pub(crate) struct Source {
    pub(crate) path: String,
    trees: Vec<TokenTree>,
}

/// Something found in a source file, printed as `path:line: what`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) name: String,
    pub(crate) line: usize,
}

impl Source {
    /// Fails only on text that is no Rust at all.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Source, String> {
        let stream = TokenStream::from_str(text).map_err(|error| format!("{path}: {error}"))?;
        Ok(Source { path: path.to_owned(), trees: without_tests(stream) })
    }

    /// Places that name one of `crates` in a path or a `use`.
    pub(crate) fn crates_named(&self, crates: &[&str]) -> Vec<Mention> {
        let mut found = Vec::new();
        walk(&self.trees, &mut |level, at| {
            let name = ident(&level[at]).filter(|name| crates.contains(&name.as_str()));
            let after_use =
                at > 0 && ident(&level[at - 1]).is_some_and(|w| w == "use" || w == "crate");
            let first_in_path = !(at > 1 && is_path_separator(&level[at - 2..]));
            if let Some(name) = name
                && first_in_path
                && (after_use || is_path_separator(&level[at + 1..]))
            {
                found.push(Mention { name, line: line(&level[at]) });
            }
        });
        found
    }

    /// Every word of the code that is one of `words` (types, functions, macros).
    pub(crate) fn words(&self, words: &[&str]) -> Vec<Mention> {
        let mut found = Vec::new();
        walk(&self.trees, &mut |level, at| {
            if let Some(name) = ident(&level[at]).filter(|name| words.contains(&name.as_str())) {
                found.push(Mention { name, line: line(&level[at]) });
            }
        });
        found
    }

    /// Calls of a function that reads a clock or a random source: `Anything::now(…)`, `Uuid::now_v7()`, …
    pub(crate) fn calls_of(&self, functions: &[&str]) -> Vec<Mention> {
        let mut found = Vec::new();
        walk(&self.trees, &mut |level, at| {
            let called = matches!(level.get(at + 1), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
            if let Some(name) =
                ident(&level[at]).filter(|name| called && functions.contains(&name.as_str()))
                && at > 1
                && is_path_separator(&level[at - 2..])
            {
                found.push(Mention { name, line: line(&level[at]) });
            }
        });
        found
    }

    /// The top-level modules of its own crate that this file names: `crate::x`, `crate::{x, y::z}`, `root_name::x`, and
    /// as many `super::` as lead to the root. `depth` is the number of modules above this file's items.
    pub(crate) fn modules_named(&self, root_name: &str, depth: usize) -> Vec<Mention> {
        let mut found = Vec::new();
        walk(&self.trees, &mut |level, at| {
            if at > 1 && is_path_separator(&level[at - 2..]) {
                return;
            }
            let Some(word) = ident(&level[at]) else { return };
            let mut rest = &level[at + 1..];
            if word == "super" {
                let mut climbed = 1;
                while is_path_separator(rest)
                    && rest.get(2).and_then(ident).is_some_and(|w| w == "super")
                {
                    climbed += 1;
                    rest = &rest[3..];
                }
                if climbed != depth {
                    return;
                }
            } else if word != "crate" && word != root_name {
                return;
            }
            if is_path_separator(rest) {
                first_names(&rest[2..], &mut found);
            }
        });
        found
    }
}

/// The first word of a path, or of each path in a brace group.
fn first_names(rest: &[TokenTree], found: &mut Vec<Mention>) {
    match rest.first() {
        Some(TokenTree::Ident(name)) => {
            found.push(Mention { name: name.to_string(), line: name.span().start().line });
        }
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for path in
                inner.split(|tree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ','))
            {
                first_names(path, found);
            }
        }
        _ => {}
    }
}

fn walk(level: &[TokenTree], visit: &mut impl FnMut(&[TokenTree], usize)) {
    for (at, tree) in level.iter().enumerate() {
        visit(level, at);
        if let TokenTree::Group(group) = tree {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            walk(&inner, visit);
        }
    }
}

/// Leaves out every item under `#[cfg(test)]` or `#[test]`, at any depth.
fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let hash = matches!(&tree, TokenTree::Punct(p) if p.as_char() == '#');
        if hash
            && matches!(trees.peek(), Some(TokenTree::Group(g)) if is_test_attribute(g.stream()))
        {
            // The item ends with its first brace group or semicolon.
            trees.by_ref().find(|tree| match tree {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Ident(_) | TokenTree::Literal(_) => false,
            });
        } else if let TokenTree::Group(group) = &tree {
            let inner = without_tests(group.stream()).into_iter().collect();
            let mut copy = proc_macro2::Group::new(group.delimiter(), inner);
            copy.set_span(group.span());
            kept.push(TokenTree::Group(copy));
        } else {
            kept.push(tree);
        }
    }
    kept
}

fn is_test_attribute(attribute: TokenStream) -> bool {
    let text: String = attribute.to_string().chars().filter(|c| !c.is_whitespace()).collect();
    text == "test"
        || text == "tokio::test"
        || (text.starts_with("cfg(") && text.contains("test") && !text.contains("not(test"))
}

fn ident(tree: &TokenTree) -> Option<String> {
    match tree {
        TokenTree::Ident(name) => Some(name.to_string()),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    }
}

fn is_path_separator(rest: &[TokenTree]) -> bool {
    matches!(rest, [TokenTree::Punct(a), TokenTree::Punct(b), ..] if a.as_char() == ':' && b.as_char() == ':')
}

fn line(tree: &TokenTree) -> usize {
    tree.span().start().line
}
