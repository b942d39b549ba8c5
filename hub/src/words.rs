//! How errors are told.

/// An error with its causes, in one line.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[derive(Debug, thiserror::Error)]
    #[error("the file cannot be read")]
    struct Unread(#[from] std::io::Error);

    #[test]
    fn every_cause_is_told() {
        let error = Unread(std::io::Error::other("the disk is gone"));
        assert_eq!(super::in_full(&error), "the file cannot be read: the disk is gone");
    }
}
