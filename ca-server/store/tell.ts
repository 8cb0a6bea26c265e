/**
 * Tells a listener. What it throws goes to `onError`: inside the driver's event it would end the process, and the other
 * listeners would not hear.
 */
export function tell(listener: (payload: string) => unknown, payload: string, onError: (error: unknown) => void): void {
  Promise.try(listener, payload).catch(onError)
}
