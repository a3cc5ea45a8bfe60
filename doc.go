// Package safeguard is the domain of child protection information sharing: who
// attends, which flags local authorities hold, what is answered, and what is
// put before the clinician. It imports only the standard library, and every
// other package of the module may import it.
package safeguard
