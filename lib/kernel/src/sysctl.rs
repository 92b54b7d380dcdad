//! Sysctls below /proc/sys of this network namespace.

use std::sync::Arc;

use model::kernel::Refusal;

/// Text without newline; `None` if there is no such sysctl (its device may be gone).
pub fn read(_path: &str) -> Result<Option<Arc<str>>, Refusal> {
    Ok(None)
}

/// Writes the text.
pub fn write(_path: &str, _value: &str) -> Result<(), Refusal> {
    Ok(())
}
