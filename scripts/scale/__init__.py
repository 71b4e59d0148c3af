"""What training costs on many devices, computed from measured steps and counted bytes."""
