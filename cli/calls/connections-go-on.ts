/** Said by whatever ends somebody's access: hosts ask at the login and never again. */
export const CONNECTIONS_GO_ON =
  'Connections that are open go on, and new shells through them (ControlMaster): end them on the host.'
