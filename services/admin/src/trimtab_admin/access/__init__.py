"""API tokens, tries that failed, and the audit trail."""
