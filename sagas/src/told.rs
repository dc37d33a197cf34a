//! What is said of a mistake: what is wrong, and what to do about it.

use std::fmt;

/// What is said of a mistake. A message alone, or a message with its mend, turns into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the message does not say it already.
    pub mend: Option<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.mend {
            Some(mend) => write!(f, ": {mend}"),
            None => Ok(()),
        }
    }
}

impl From<&str> for Told {
    fn from(message: &str) -> Self {
        Self::from(message.to_owned())
    }
}

impl From<String> for Told {
    fn from(message: String) -> Self {
        Self { message, mend: None }
    }
}

impl<Message: Into<String>, Mend: Into<String>> From<(Message, Mend)> for Told {
    fn from((message, mend): (Message, Mend)) -> Self {
        Self { message: message.into(), mend: Some(mend.into()) }
    }
}
