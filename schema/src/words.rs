//! How errors are told.

/// An error with its causes, in one line; a cause whose words stand there already is not repeated.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::in_full;

    #[derive(Debug, thiserror::Error)]
    #[error("the file cannot be read")]
    struct Unread(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("no entry: {0}")]
    struct Missing(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let gone = || std::io::Error::other("the disk is gone");
        assert_eq!(in_full(&Unread(gone())), "the file cannot be read: the disk is gone");
        assert_eq!(in_full(&Missing(gone())), "no entry: the disk is gone");
    }
}
