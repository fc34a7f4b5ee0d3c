// Lists whose head is one word, the address of the first node; as in the kernel, a node of an hlist can be taken from its
// list without looking for it.
//
//   head: | first |      node: | next | pprev: address of the word that refers to this node |

/** Makes a node the first of a list; `head` is the address of the word that refers to the first. */
export function hlistAddHead(head: usize, node: usize): void {
  const first = load<u32>(head);
  store<u32>(node, first);
  store<u32>(node, head, 4);
  if (first != 0) store<u32>(first, node, 4);
  store<u32>(head, node);
}

export function hlistDel(node: usize): void {
  const next = load<u32>(node);
  const pprev = load<u32>(node, 4);
  store<u32>(pprev, next);
  if (next != 0) store<u32>(next, pprev, 4);
}

/** Takes a node from a list without back links; `link` is where nodes have the word that refers to the next. */
export function slistDel(head: usize, node: u32, link: u32): void {
  let at = head;
  while (load<u32>(at) != node) at = load<u32>(at) + link;
  store<u32>(at, load<u32>(node + link));
}
