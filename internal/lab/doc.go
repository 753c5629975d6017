// Package lab runs containerlab topology files in Linux namespaces, without containers and images.
//
// A node is a process tree under one set of namespaces (network, mount, UTS, PID, IPC, cgroup). Its
// root is a copy-on-write view of the host's file system, with an empty /run, /etc/frr and the like
// (see privateDirs), so that routing daemons use their default paths and never see the host's files
// or each other's. PID 1 of a node is a small init of ours, this program started again under another
// name: it reaps, runs the node's cmd, and answers on a unix socket. Killing it ends the node whole.
//
// What Deploy leaves behind is the nodes' processes and one folder a lab (StateDir): lab.json, a log
// and a socket a node. Nothing else exists on the host: links are made directly between the nodes'
// namespaces, and no namespace has a name.
//
// Invariants
//
//   - Until a deployment is committed each node holds one end of a socket pair whose other end is the
//     deployer's. A deployer that dies, however it dies, takes its nodes along.
//   - lab.json names every node's process, with its start time against reuse of the number, before
//     the first node is committed. So Destroy finds all there is to end.
//   - Whoever changes a lab holds a lock on its folder, so a folder that says "deploying" and is not
//     locked is the debris of a crash, and Deploy replaces it.
//
// A plain user gets the same thing inside a user namespace: Deploy starts this program again in one,
// which the nodes then keep alive. Programs that use this package call Reexec first thing in main
// (tests: in TestMain).
//
// A lab is no security boundary: a node's root is the host's root.
package lab
