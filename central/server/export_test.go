package server

// SendingOf is for tests.
var SendingOf = sendingOf
